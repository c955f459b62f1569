"""The bundle: every blob that a build's start loads, in one stream, so that a node's start is one round trip.

    magic   8 bytes   "INDBNDL1"
    frame   digest 32 | size u64 | packed size u64 | xxh3-128 16 | packed bytes (one zstd frame)
    ...
    end     a header of zeros, but for `size`: how many frames came before

The first frame is the JSON of a `BundleIndex`. Integers are little-endian. The checksum is of the packed
bytes and tells a damaged transfer from a foreign blob; the digest, checked after unpacking, decides.
"""

from __future__ import annotations

import struct
from collections.abc import Iterator
from typing import Protocol

from msgspec import Struct

from .artifact import Artifact
from .blob import unpack
from .build import Build
from .descriptor import BLOB_BYTES_MAX
from .digest import checksum_of, digest_of
from .errors import Corrupt, DigestMismatch, TooLarge
from .manifest import Manifest

MAGIC = b"INDBNDL1"
_HEADER = struct.Struct("<32sQQ16s")
_END = bytes(32)


class BundleIndex(Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """What the bundle is of; its blobs follow."""

    build: Build
    manifests: tuple[Manifest, ...]
    artifacts: tuple[Artifact, ...]


class Readable(Protocol):
    def read(self, size: int, /) -> bytes:
        """Return at most `size` bytes; fewer than asked only at the end of the stream or of a chunk."""


def frame_header(digest: str, size: int, packed: bytes) -> bytes:
    """Return the header that goes before `packed`."""
    return _HEADER.pack(bytes.fromhex(digest), size, len(packed), checksum_of(packed))


def end_header(frames: int) -> bytes:
    """Return the header that ends a bundle of `frames` frames."""
    return _HEADER.pack(_END, frames, 0, bytes(16))


def read_frames(stream: Readable, bytes_max: int) -> Iterator[tuple[str, bytes, bytes]]:
    """Yield (digest, bytes, packed bytes) of each frame, verified, until the end header.

    `bytes_max` bounds the uncompressed bytes of the whole bundle. Raises Corrupt where the stream is cut or
    damaged, DigestMismatch where a frame isn't what it says, TooLarge past the bound. Frames yielded before
    an error are good.
    """
    if _read(stream, len(MAGIC)) != MAGIC:
        raise Corrupt("this isn't a bundle")
    frames, total = 0, 0
    while True:
        raw_digest, size, packed_size, checksum = _HEADER.unpack(_read(stream, _HEADER.size))
        if raw_digest == _END:
            if size != frames:
                raise Corrupt(f"the bundle ends after {frames} frames of {size}")
            return
        total += size
        # zstd grows what it can't shrink by at most one part in 256, and a small frame by a few bytes.
        if size > BLOB_BYTES_MAX or total > bytes_max or packed_size > size + size // 128 + 512:
            raise TooLarge("the bundle is larger than allowed")
        packed = _read(stream, packed_size)
        if checksum_of(packed) != checksum:
            raise Corrupt("a frame of the bundle was damaged on its way")
        data = unpack(packed, size)
        digest = raw_digest.hex()
        if digest_of(data) != digest:
            raise DigestMismatch(f"a frame of the bundle isn't {digest}")
        frames += 1
        yield digest, data, packed


def _read(stream: Readable, size: int) -> bytes:
    """Read exactly `size` bytes. Raises Corrupt at an early end."""
    parts: list[bytes] = []
    missing = size
    while missing:
        part = stream.read(min(missing, 1 << 20))
        if not part:
            raise Corrupt("the bundle is cut short")
        parts.append(part)
        missing -= len(part)
    return b"".join(parts)
