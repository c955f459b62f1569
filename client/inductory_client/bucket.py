"""The bucket: where a store may send us for a large blob, by an address that is good for a short while.

Nothing of ours goes there but the address, and nothing that comes from there is believed: a blob is compared
with its digest as ever. Whatever goes wrong there, the store itself has the blob, too, and is asked instead.
"""

from __future__ import annotations

from urllib.parse import urlsplit

from .breaker import CircuitBreaker
from .contract.errors import StoreUnavailable
from .deadline import Deadline
from .exchange import read_body
from .fork import ForkLock
from .pool import ConnectionPool

_HEADERS = {"Accept-Encoding": "zstd"}


class BucketReader:
    """Reads from whatever bucket a store names. Safe for threads.

    One failure is enough to leave the bucket alone for a while: the store answers meanwhile.
    """

    def __init__(self, breaker: CircuitBreaker | None = None) -> None:
        self._breaker = breaker or CircuitBreaker(failures_max=1)
        self._lock = ForkLock()
        self._pool: ConnectionPool | None = None

    @property
    def is_left_alone(self) -> bool:
        return self._breaker.state == "open"

    def read(self, url: str, bytes_max: int, deadline: Deadline) -> bytes:
        """Return what is at an address. Raises StoreUnavailable, DeadlineExceeded, BreakerOpen and TooLarge.

        It isn't followed any further from there.
        """
        with self._breaker.call():
            pool, path = self._found(url)
            with pool.exchange("GET", path, None, _HEADERS, deadline) as response:
                if response.status != 200:
                    raise StoreUnavailable(f"{pool.url} answers with status {response.status}")
                return read_body(response, bytes_max)

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
