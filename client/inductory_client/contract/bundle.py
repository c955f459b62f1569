"""The bundle: every blob that a build's start loads, in one stream, so that a node's start is one round trip.

    magic   8 bytes   "INDBNDL1"
    frame   digest 32 | size u64 | packed size u64 | xxh3-128 16 | packed bytes (one zstd frame)
    ...
    end     a header of zeros, but for `size`: how many frames came before

The first frame is the JSON of a `BundleIndex`. Integers are little-endian. The checksum is of the packed
bytes and tells a damaged transfer from a foreign blob; the digest, checked after unpacking, decides.

Nothing in a bundle is trusted while it is read, so its index is no longer than any other message, and whoever
reads it says after the index which blobs are wanted: no other is held or unpacked.
"""

from __future__ import annotations

import struct
from collections.abc import Callable, Iterator, Mapping
from typing import Annotated, Protocol

from msgspec import Meta, Struct

from .artifact import Artifact
from .blob import packed_bytes_max, unpack
from .build import Build
from .descriptor import BLOB_BYTES_MAX
from .digest import checksum_of, digest_of
from .errors import Corrupt, DigestMismatch, SizeMismatch, TooLarge
from .manifest import Manifest
from .wire import MESSAGE_BYTES_MAX

MAGIC = b"INDBNDL1"
_HEADER = struct.Struct("<32sQQ16s")
_END = bytes(32)
_READ_BYTES = 1 << 20

INDEX_BYTES_MAX = MESSAGE_BYTES_MAX
MANIFESTS_MAX = 10_000
ARTIFACTS_MAX = 50_000

Sizes = Callable[[bytes], Mapping[str, int]]
"""Takes the bytes of the index and returns which blobs are wanted: their sizes by digest."""


class BundleIndex(Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """What the bundle is of; its blobs follow."""

    build: Build
    manifests: Annotated[tuple[Manifest, ...], Meta(max_length=MANIFESTS_MAX)]
    artifacts: Annotated[tuple[Artifact, ...], Meta(max_length=ARTIFACTS_MAX)]


class Readable(Protocol):
    def read(self, size: int, /) -> bytes:
        """Return at most `size` bytes; fewer than asked only at the end of the stream or of a chunk."""


def frame_header(digest: str, size: int, packed: bytes) -> bytes:
    """Return the header that goes before `packed`."""
    return _HEADER.pack(bytes.fromhex(digest), size, len(packed), checksum_of(packed))


def end_header(frames: int) -> bytes:
    """Return the header that ends a bundle of `frames` frames."""
    return _HEADER.pack(_END, frames, 0, bytes(16))


def read_frames(
    stream: Readable, bytes_max: int, wanted: Sizes | None = None
) -> Iterator[tuple[str, bytes, bytes]]:
    """Yield (digest, bytes, packed bytes) of each frame, verified, until the end header.

    The first frame is the index, of at most `INDEX_BYTES_MAX`. `wanted` is called with it; what it doesn't
    name, or names for the second time, is read past without being held. Without `wanted` all is yielded.
    `bytes_max` bounds the uncompressed bytes of the whole bundle. Raises Corrupt where the stream is cut or
    damaged, DigestMismatch and SizeMismatch where a frame isn't what it says, TooLarge past a bound, and what
    `wanted` raises. Frames yielded before an error are good.
    """
    if _read(stream, len(MAGIC)) != MAGIC:
        raise Corrupt("this isn't a bundle")
    frames, total = 0, 0
    sizes: dict[str, int] | None = None
    while True:
        raw_digest, size, packed_size, checksum = _HEADER.unpack(_read(stream, _HEADER.size))
        if raw_digest == _END:
            if size != frames:
                raise Corrupt(f"the bundle ends after {frames} frames of {size}")
            return
        total += size
        size_max = BLOB_BYTES_MAX if frames else INDEX_BYTES_MAX
        if size > size_max or total > bytes_max or packed_size > packed_bytes_max(size):
            raise TooLarge("the bundle is larger than allowed")
        digest = raw_digest.hex()
        frames += 1
        if sizes is not None and digest not in sizes:
            _skip(stream, packed_size)
            continue
        if sizes is not None and sizes.pop(digest) != size:
            raise SizeMismatch(f"blob {digest} has another size in the bundle than in its index")
        packed = _read(stream, packed_size)
        data = _unpacked(packed, digest, size, checksum)
        if frames == 1 and wanted is not None:
            sizes = dict(wanted(data))
        yield digest, data, packed


def _unpacked(packed: bytes, digest: str, size: int, checksum: bytes) -> bytes:
    if checksum_of(packed) != checksum:
        raise Corrupt("a frame of the bundle was damaged on its way")
    data = unpack(packed, size)
    if digest_of(data) != digest:
        raise DigestMismatch(f"a frame of the bundle isn't {digest}")
    return data


def _skip(stream: Readable, size: int) -> None:
    """Read past `size` bytes, a few at a time. Raises Corrupt at an early end."""
    while size:
        size -= len(_read(stream, min(size, _READ_BYTES)))


def _read(stream: Readable, size: int) -> bytes:
    """Read exactly `size` bytes. Raises Corrupt at an early end."""
    parts: list[bytes] = []
    missing = size
    while missing:
        part = stream.read(min(missing, _READ_BYTES))
        if not part:
            raise Corrupt("the bundle is cut short")
        parts.append(part)
        missing -= len(part)
    return b"".join(parts)
