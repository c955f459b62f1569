"""The bucket: where a store may have us fetch a large blob, or send one, by addresses good for a short while.

Nothing of ours goes there but the address and the blob, and nothing that comes from there is believed: a blob
is compared with its digest as ever. Whatever goes wrong there, the store itself gives and takes blobs, too.
"""

from __future__ import annotations

import http.client
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from urllib.parse import urlsplit

from .breaker import CircuitBreaker
from .contract.errors import InductoryError, StoreUnavailable
from .contract.wire import UploadOffered, UploadWanted
from .deadline import Deadline
from .exchange import Exchange, read_body
from .fork import ForkLock
from .pool import ConnectionPool

_HEADERS = {"Accept-Encoding": "zstd"}
_TAKEN = (200, 201, 204)
_WORDS_BYTES_MAX = 64 << 10
"""Of what a bucket says to a blob that it was sent."""


class BucketReader:
    """Reads from whatever bucket a store names. Safe for threads.

    One failure is enough to leave the bucket alone for a while: the store answers meanwhile.
    """

    def __init__(self, breaker: CircuitBreaker | None = None) -> None:
        self._breaker = breaker or CircuitBreaker(failures_max=1)
        self._connections = _Connections()

    @property
    def is_left_alone(self) -> bool:
        return self._breaker.state == "open"

    def read(self, url: str, bytes_max: int, deadline: Deadline) -> bytes:
        """Return what is at an address. Raises StoreUnavailable, DeadlineExceeded, BreakerOpen and TooLarge.

        It isn't followed any further from there.
        """
        with (
            self._breaker.call(),
            self._connections.exchange("GET", url, None, _HEADERS, (200,), deadline) as response,
        ):
            return read_body(response, bytes_max)

    def close(self) -> None:
        self._connections.close()


class BucketWriter:
    """Sends blobs to whatever bucket a store offers, and has the store finish them. Safe for threads.

    One failure is enough to leave the bucket alone for a while, and reading from it is another matter: rights
    for the one aren't rights for the other.
    """

    def __init__(self, exchange: Exchange, breaker: CircuitBreaker | None = None) -> None:
        self._exchange = exchange
        self._breaker = breaker or CircuitBreaker(failures_max=1)
        self._connections = _Connections()

    @property
    def is_left_alone(self) -> bool:
        return self._breaker.state == "open"

    def offer(self, digest: str, wanted: UploadWanted, deadline: Deadline) -> UploadOffered:
        """Ask the store for an address. Raises NotFound where it gives none, and what the exchange raises."""
        return self._exchange.ask("POST", f"/v1/blobs/{digest}/upload", UploadOffered, wanted, deadline)

    def write(self, digest: str, offered: UploadOffered, packed: bytes, deadline: Deadline) -> None:
        """Send a zstd frame to the address; return once the store has verified and kept it.

        Raises StoreUnavailable, StorageFailed, DeadlineExceeded and BreakerOpen. May be repeated.
        """
        with self._breaker.call():
            try:
                self._send(offered, packed, deadline)
                path = f"/v1/blobs/{digest}/upload/{offered.upload}:finish"
                self._exchange.ask_bytes("POST", path, {}, b"", deadline)
            except InductoryError as error:
                if error.retryable:
                    raise
                # Whatever the store or the bucket says of it, by this way blobs don't arrive.
                raise StoreUnavailable(f"blobs don't arrive by the bucket: {error}") from error

    def close(self) -> None:
        self._connections.close()

    def _send(self, offered: UploadOffered, packed: bytes, deadline: Deadline) -> None:
        exchange = self._connections.exchange("PUT", offered.url, packed, offered.headers, _TAKEN, deadline)
        with exchange as response:
            read_body(response, _WORDS_BYTES_MAX)


class _Connections:
    """Kept connections to the bucket that was named last."""

    def __init__(self) -> None:
        self._lock = ForkLock()
        self._pool: ConnectionPool | None = None

    @contextmanager
    def exchange(
        self,
        method: str,
        url: str,
        body: bytes | None,
        headers: Mapping[str, str],
        statuses: tuple[int, ...],
        deadline: Deadline,
    ) -> Iterator[http.client.HTTPResponse]:
        """Yield a good answer, to be read inside. Raises StoreUnavailable and DeadlineExceeded."""
        pool, path = self._found(url)
        with pool.exchange(method, path, body, headers, deadline) as response:
            if response.status not in statuses:
                raise StoreUnavailable(f"{pool.url} answers with status {response.status}")
            yield response

    def close(self) -> None:
        with self._lock:
            pool, self._pool = self._pool, None
        if pool is not None:
            pool.close()

    def _found(self, url: str) -> tuple[ConnectionPool, str]:
        """Return connections to the bucket, and what is left of the address, a signature in it."""
        try:
            parts = urlsplit(url)
            origin = f"{parts.scheme}://{parts.netloc}"
            if parts.scheme not in ("http", "https") or not parts.hostname or parts.username is not None:
                raise ValueError
            with self._lock:
                if self._pool is None or self._pool.url != origin:
                    self._pool = ConnectionPool(origin)
                return self._pool, f"{parts.path or '/'}?{parts.query}"
        except ValueError as error:
            raise StoreUnavailable("the store sends us to an address that is none") from error
