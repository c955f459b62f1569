"""Unpacking in a stream: verified while chunks pass, and no more is made than was declared."""

from __future__ import annotations

import hashlib
import sys
from collections.abc import Iterable, Iterator

from inductory_client.contract.blob import ZSTD_LEVEL, packed_bytes_max
from inductory_client.contract.errors import Corrupt, DigestMismatch, SizeMismatch, TooLarge

if sys.version_info >= (3, 14):
    from compression import zstd
else:
    from backports import zstd

CHUNK_BYTES = 256 << 10


class Unpacking:
    """One zstd frame on its way to becoming the `size` bytes that have `digest`."""

    def __init__(self, digest: str, size: int) -> None:
        self._digest, self._size = digest, size
        self._zstd = zstd.ZstdDecompressor()
        self._hash = hashlib.sha256()
        self._made = self._read = 0

    def feed(self, packed: bytes) -> Iterator[bytes]:
        """Yield what the next chunk unpacks to. Raises Corrupt, SizeMismatch, TooLarge at once."""
        self._read += len(packed)
        if self._read > packed_bytes_max(self._size):
            raise TooLarge(f"the zstd frame is longer than one of {self._size} bytes can be")
        if not packed:
            return
        if self._zstd.eof:
            raise Corrupt("the blob isn't exactly one whole zstd frame")
        while True:
            piece = self._step(packed)
            if piece:
                yield piece
            packed = b""
            if self._zstd.eof or self._zstd.needs_input or not piece:
                break
        if self._zstd.unused_data:
            raise Corrupt("the blob isn't exactly one whole zstd frame")

    def _step(self, packed: bytes) -> bytes:
        """Make at most a chunk, and at most one byte more than was declared."""
        try:
            piece = self._zstd.decompress(packed, min(CHUNK_BYTES, self._size + 1 - self._made))
        except zstd.ZstdError as error:
            raise Corrupt("the blob isn't a whole zstd frame") from error
        self._made += len(piece)
        if self._made > self._size:
            raise SizeMismatch(f"the blob holds more than the {self._size} bytes that were declared")
        self._hash.update(piece)
        return piece

    def finish(self) -> None:
        """Raise Corrupt, SizeMismatch or DigestMismatch unless what passed was the whole blob."""
        if not self._zstd.eof:
            raise Corrupt("the blob's zstd frame is cut short")
        if self._made < self._size:
            raise SizeMismatch(f"the blob holds {self._made} bytes where {self._size} were declared")
        if self._hash.hexdigest() != self._digest:
            raise DigestMismatch(f"the bytes aren't {self._digest}, but {self._hash.hexdigest()}")


def measured(packed: Iterable[bytes], size_max: int) -> tuple[str, int, int]:
    """Return the digest, the size and the packed size of a zstd frame of which nothing is known.

    Raises Corrupt unless it is one whole frame, TooLarge for more than `size_max` bytes.
    """
    decompressor, digest, size, packed_size = zstd.ZstdDecompressor(), hashlib.sha256(), 0, 0
    for chunk in packed:
        if decompressor.eof and chunk:
            raise Corrupt("the blob isn't exactly one whole zstd frame")
        packed_size += len(chunk)
        data = chunk
        while not decompressor.eof:
            try:
                piece = decompressor.decompress(data, CHUNK_BYTES)
            except zstd.ZstdError as error:
                raise Corrupt("the blob isn't a whole zstd frame") from error
            data = b""
            digest.update(piece)
            size += len(piece)
            if size > size_max:
                raise TooLarge(f"the blob holds more than {size_max} bytes")
            if decompressor.needs_input:
                break
    if not decompressor.eof or decompressor.unused_data:
        raise Corrupt("the blob isn't exactly one whole zstd frame")
    return digest.hexdigest(), size, packed_size


def verified(packed: Iterable[bytes], digest: str, size: int) -> Iterator[bytes]:
    """Yield the chunks of a zstd frame as they are; the last one only once the whole blob is verified.

    So nobody who counts on the length gets a whole blob of wrong bytes. Raises what Unpacking raises.
    """
    unpacking = Unpacking(digest, size)
    held = b""
    for chunk in packed:
        for _ in unpacking.feed(chunk):
            pass
        if held:
            yield held
        held = chunk
    unpacking.finish()
    if held:
        yield held


def unpacked(packed: Iterable[bytes], digest: str, size: int, start: int, stop: int) -> Iterator[bytes]:
    """Yield bytes `start` to `stop` (excluded) of a blob; the last ones only once all of it is verified."""
    unpacking = Unpacking(digest, size)
    held, at = b"", 0
    for chunk in packed:
        for piece in unpacking.feed(chunk):
            wanted = piece[max(0, start - at) : max(0, stop - at)]
            at += len(piece)
            if wanted:
                if held:
                    yield held
                held = wanted
    unpacking.finish()
    if held:
        yield held


def packed_from(raw: Iterable[bytes], size: int) -> Iterator[bytes]:
    """Yield the zstd frame of `raw`, which must be `size` bytes. Raises SizeMismatch as soon as it shows."""
    packer = zstd.ZstdCompressor(ZSTD_LEVEL)
    packer.set_pledged_input_size(size)
    seen = 0
    for chunk in raw:
        seen += len(chunk)
        if seen > size:
            raise SizeMismatch(f"the blob holds more than the {size} bytes that were declared")
        if piece := packer.compress(chunk):
            yield piece
    if seen < size:
        raise SizeMismatch(f"the blob holds {seen} bytes where {size} were declared")
    yield packer.flush()
