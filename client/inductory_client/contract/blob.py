"""How blobs rest and travel: as zstd, their size declared before and enforced while unpacking."""

from __future__ import annotations

import sys

from .errors import Corrupt, SizeMismatch

if sys.version_info >= (3, 14):
    from compression import zstd
else:
    from backports import zstd

ZSTD_LEVEL = 3


def packed_bytes_max(size: int) -> int:
    """Return how many bytes `size` bytes may be packed.

    zstd grows what it can't shrink by at most one part in 256, and a small frame by a few bytes.
    """
    return size + size // 128 + 512


def pack(data: bytes) -> bytes:
    """Compress `data` (zstd, level 3)."""
    return zstd.compress(data, ZSTD_LEVEL)


def unpack(packed: bytes, size: int) -> bytes:
    """Decompress one zstd frame that must hold exactly `size` bytes.

    No more than `size` + 1 bytes are ever made, whatever the frame claims, so that a compression bomb costs
    nothing. Raises SizeMismatch and Corrupt.
    """
    unpacker = zstd.ZstdDecompressor()
    try:
        data = unpacker.decompress(packed, size + 1)
    except zstd.ZstdError as error:
        raise Corrupt("the blob isn't a whole zstd frame") from error
    if len(data) > size:
        raise SizeMismatch(f"the blob holds more than the {size} bytes that were declared")
    if not unpacker.eof or unpacker.unused_data:
        raise Corrupt("the blob isn't exactly one whole zstd frame")
    if len(data) < size:
        raise SizeMismatch(f"the blob holds {len(data)} bytes where {size} were declared")
    return data
