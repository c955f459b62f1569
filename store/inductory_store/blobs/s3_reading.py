"""One object of a bucket, read as a file."""

from __future__ import annotations

import io
import time
from collections.abc import Callable
from contextlib import suppress
from typing import Any

from inductory_client.contract.errors import InductoryError, NotFound, StorageFailed

from inductory_store.pace import Pace

from .s3_faults import faults

AT_ONCE_BYTES_MAX = 1 << 20
"""An object of up to so many bytes is read when it is opened, which gives its connection back."""
BYTES_PER_S_MIN = 64 << 10
"""A bucket that gives less has failed."""

Get = Callable[[dict[str, str]], Any]
"""Asks for the object, with these arguments besides, and returns the AdmittedClient's answer."""


class ObjectFile(io.RawIOBase):
    """The bytes of an object, seekable; a large one streams.

    Reading on from another place is another request, which asks for the very object that was opened. Bytes
    are never fewer than the object has: raises StorageFailed where the answer ends early, or drips.
    """

    def __init__(self, get: Get, timeout_s: float) -> None:
        """Open it. Raises NotFound and StorageFailed."""
        super().__init__()
        self._get, self._timeout_s = get, timeout_s
        self._at = self._streamed = 0
        """Where to read next, and where the stream stands."""
        self._pace = Pace(timeout_s, BYTES_PER_S_MIN)
        self._small: bytes | None = None
        answer = self._ask({})
        self.size: int = answer["ContentLength"]
        self._etag: str = answer.get("ETag", "")
        if self.size <= AT_ONCE_BYTES_MAX:
            try:
                self._small = b"".join(iter(lambda: self._stream_up_to(self.size), b""))
            finally:
                self._drop()
                self._at = 0

    def readable(self) -> bool:
        return True

    def seekable(self) -> bool:
        return True

    def tell(self) -> int:
        return self._at

    def seek(self, offset: int, whence: int = io.SEEK_SET) -> int:
        base = {io.SEEK_SET: 0, io.SEEK_CUR: self._at, io.SEEK_END: self.size}[whence]
        self._at = max(0, base + offset)
        return self._at

    def readinto(self, buffer: Any) -> int:
        with memoryview(buffer).cast("B") as view:
            piece = self._piece(len(view))
            view[: len(piece)] = piece
        return len(piece)

    def close(self) -> None:
        if not self.closed:
            super().close()
            self._drop()

    def _piece(self, bytes_max: int) -> bytes:
        if self._small is None:
            return self._stream_up_to(bytes_max)
        piece = self._small[self._at : self._at + bytes_max]
        self._at += len(piece)
        return piece

    def _stream_up_to(self, bytes_max: int) -> bytes:
        """Return what comes next, at most so much; nothing at the end only."""
        wanted = min(bytes_max, self.size - self._at)
        if wanted <= 0:
            return b""
        if self._streamed != self._at:
            self._ask_again()
        began = time.monotonic()
        with faults("read a blob"):
            piece: bytes = self._raw.read1(wanted)
        self._pace.arrived(len(piece), time.monotonic() - began)
        self._at += len(piece)
        self._streamed = self._at
        if not piece:
            raise StorageFailed("the bucket's answer ended early")
        if not self._pace.patience_s:
            raise StorageFailed("the bucket gives the blob too slowly")
        return piece

    def _ask(self, arguments: dict[str, str]) -> Any:
        with faults("open a blob", may_be_absent=True):
            answer = self._get(arguments)
        self._raw = answer["Body"]
        self._streamed = self._at
        self._pace = Pace(self._timeout_s, BYTES_PER_S_MIN)
        return answer

    def _ask_again(self) -> None:
        self._drop()
        try:
            answer = self._ask({"Range": f"bytes={self._at}-{self.size - 1}", "IfMatch": self._etag})
        except NotFound:
            raise StorageFailed("the blob was deleted while it was read") from None
        if answer["ContentLength"] != self.size - self._at:
            raise StorageFailed("the bucket gives other bytes than were asked for")

    def _drop(self) -> None:
        """Give the connection back, or close it where bytes are still to come."""
        with suppress(InductoryError), faults("close a blob"):
            self._raw.close()
