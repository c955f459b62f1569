"""Segments: a file cut where known bytes lie in it, so that each of these is a blob of its own.

    head | piece 1 | between | piece 2 | tail  -->  model/0000 ... model/0004

Whatever wrote the file, its segments one after the other are the file.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping

SEGMENTS_MAX = 500
PIECE_BYTES_MIN = 1024
"""Shorter ones aren't worth a blob."""


def cut(data: bytes, pieces: Iterable[bytes]) -> list[bytes]:
    """Return the segments of `data`; pieces that don't lie in it as they are stay parts of others."""
    places: list[tuple[int, int]] = []
    for piece in dict.fromkeys(pieces):
        begin = data.find(piece) if len(piece) >= PIECE_BYTES_MIN else -1
        if begin >= 0:
            places.append((begin, begin + len(piece)))
    segments: list[bytes] = []
    done = 0
    for begin, end in sorted(places):
        if begin < done or len(segments) + 3 > SEGMENTS_MAX:
            continue
        if begin > done:
            segments.append(data[done:begin])
        segments.append(data[begin:end])
        done = end
    if done < len(data) or not segments:
        segments.append(data[done:])
    return segments


def named(folder: str, segments: Iterable[bytes]) -> dict[str, bytes]:
    """Return the segments under names that sort in their order."""
    return {f"{folder}/{place:04}": segment for place, segment in enumerate(segments)}


def joined(folder: str, files: Mapping[str, bytes]) -> bytes | None:
    """Return the file whose segments lie in `folder`; None where there is none or one is missing."""
    names = sorted(name for name in files if name.startswith(f"{folder}/"))
    if not names or names != [f"{folder}/{place:04}" for place in range(len(names))]:
        return None
    return b"".join(files[name] for name in names)
