"""Blobs in this process's memory: for trying things out, and for tests."""

from __future__ import annotations

import io
import threading
from collections.abc import Iterable, Iterator
from typing import BinaryIO

from inductory_client.contract.errors import NotFound

from .store import BlobStat
from .unpacking import verified


class MemoryBlobs:
    """A BlobStore that forgets when its process ends."""

    def __init__(self) -> None:
        self._frames: dict[str, bytes] = {}
        self._lock = threading.Lock()

    def put(self, digest: str, size: int, packed: Iterable[bytes]) -> BlobStat:
        frame = b"".join(verified(packed, digest, size))
        with self._lock:
            self._frames[digest] = frame
        return BlobStat(len(frame))

    def open(self, digest: str) -> BinaryIO:
        frame = self._frames.get(digest)
        if frame is None:
            raise NotFound(f"there is no blob {digest}")
        return io.BytesIO(frame)

    def stat(self, digest: str) -> BlobStat | None:
        frame = self._frames.get(digest)
        return None if frame is None else BlobStat(len(frame))

    def delete(self, digest: str) -> bool:
        with self._lock:
            return self._frames.pop(digest, None) is not None

    def list(self) -> Iterator[str]:
        with self._lock:
            digests = sorted(self._frames)
        yield from digests

    def check(self) -> None:
        """Memory can always be written to."""
