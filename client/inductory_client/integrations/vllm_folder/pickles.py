"""Pickles with other constants, read opcode by opcode and never run.

A pickle is a program: its opcodes push constants, and some of them call. Here texts and bytes among the
constants are exchanged, all else stays as it was, in its order. Only frames go, since their lengths would be
wrong: they are a reader's convenience, and a pickle without them means the same.
"""

from __future__ import annotations

import pickletools
from collections.abc import Callable
from itertools import pairwise

from inductory_client.contract.errors import Malformed

DEPTH_MAX = 8
"""Pickles lie in the bytes of pickles; vLLM's go four deep."""

ChangeText = Callable[[str], str]
ChangeBytes = Callable[[str, bytes], bytes]
"""Takes the name that a file's bytes follow, empty where they follow none, and the bytes."""

Concerns = Callable[[bytes], bool]
"""Whether a pickle may hold anything that is to change: a quick look, as reading opcodes isn't."""

_TEXTS = {"SHORT_BINUNICODE", "BINUNICODE", "BINUNICODE8"}
_BYTES = {"SHORT_BINBYTES", "BINBYTES", "BINBYTES8"}
_REMEMBERING = {"MEMOIZE", "BINPUT", "LONG_BINPUT", "BINGET", "LONG_BINGET", "FRAME"}
_FIELD = "payload"
"""What torch calls the bytes of a file, after the file's name."""


def is_pickle(data: bytes) -> bool:
    """Whether `data` begins as a pickle of protocol 4 or 5 does."""
    return data[:2] in (b"\x80\x04", b"\x80\x05")


def rewrite_pickle(
    data: bytes, text: ChangeText, change: ChangeBytes, concerns: Concerns, depth: int = 0
) -> bytes:
    """Return the pickle with changed constants, those of pickles in its bytes included; `data` itself where
    nothing changes. Raises Malformed where it isn't one whole pickle.
    """
    if depth > DEPTH_MAX or not concerns(data):
        return data
    pieces, done, named = [], 0, ""
    for (name, argument, at), (_, _, end) in pairwise(_opcodes(data)):
        replacement = None
        if name == "FRAME":
            replacement = b""
        elif isinstance(argument, str) and name in _TEXTS:
            changed = text(argument)
            replacement = None if changed == argument else _text(changed)
            named = named if argument == _FIELD else argument
        elif isinstance(argument, bytes) and name in _BYTES:
            replacement = _replacement(argument, named, text, change, concerns, depth)
        if name not in _TEXTS and name not in _REMEMBERING:
            named = ""
        if replacement is not None:
            pieces += [data[done:at], replacement]
            done = end
    rewritten = b"".join([*pieces, data[done:]])
    return data if _same_but_for_frames(pieces) else rewritten


def _opcodes(data: bytes) -> list[tuple[str, object, int]]:
    """Return name, argument and place of each opcode, and where the last one ends. Raises Malformed."""
    try:
        found = [(opcode.name, argument, at or 0) for opcode, argument, at in pickletools.genops(data)]
    except (ValueError, UnicodeDecodeError) as error:
        raise Malformed(f"what should be a pickle can't be read: {error}") from error
    if found[-1][2] + 1 != len(data):
        raise Malformed("something follows the end of a pickle")
    return [*found, ("", None, len(data))]


def _replacement(
    data: bytes, named: str, text: ChangeText, change: ChangeBytes, concerns: Concerns, depth: int
) -> bytes | None:
    changed = change(named, data)
    if changed == data and is_pickle(data):
        try:
            changed = rewrite_pickle(data, text, change, concerns, depth + 1)
        except Malformed:
            return None  # bytes that begin like one by chance
    return None if changed == data else _bytes(changed)


def _same_but_for_frames(pieces: list[bytes]) -> bool:
    return not any(pieces[1::2])


def _text(value: str) -> bytes:
    data = value.encode("utf-8", "surrogatepass")
    if len(data) < 1 << 8:
        return b"\x8c" + len(data).to_bytes(1, "little") + data
    return b"X" + len(data).to_bytes(4, "little") + data


def _bytes(data: bytes) -> bytes:
    if len(data) < 1 << 8:
        return b"C" + len(data).to_bytes(1, "little") + data
    if len(data) < 1 << 32:
        return b"B" + len(data).to_bytes(4, "little") + data
    return b"\x8e" + len(data).to_bytes(8, "little") + data
