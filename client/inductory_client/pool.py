"""The pool: connections to the store that are kept between calls, and one exchange over them."""

from __future__ import annotations

import http.client
import os
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from typing import TYPE_CHECKING
from urllib.parse import urlsplit
from weakref import finalize

from .connection import Connection
from .contract.errors import DeadlineExceeded, StoreUnavailable
from .deadline import Deadline
from .fork import ForkLock

if TYPE_CHECKING:
    import ssl

IDLE_MAX = 8


class ConnectionPool:
    """Connections to one address. Safe for threads; a forked child opens its own."""

    def __init__(self, url: str) -> None:
        parts = urlsplit(url)
        self.url = url
        self.prefix = parts.path.rstrip("/")
        self._host = parts.hostname or ""
        self._secure = parts.scheme == "https"
        self._port = parts.port or (443 if self._secure else 80)
        self._context: ssl.SSLContext | None = None
        self._lock = ForkLock()
        self._idle: list[Connection] = []
        self._pid = os.getpid()
        # Whoever drops a client without closing it leaves no open sockets behind.
        finalize(self, _close_all, self._idle)

    @contextmanager
    def exchange(
        self,
        method: str,
        path: str,
        body: bytes | None,
        headers: Mapping[str, str],
        deadline: Deadline,
        repeatable: bool = True,
    ) -> Iterator[http.client.HTTPResponse]:
        """Send one request and yield its answer, whose body is to be read inside.

        A kept connection that turns out to be closed is replaced once, and the request may then have been
        read already; one that isn't `repeatable` has a connection of its own. Raises DeadlineExceeded and
        StoreUnavailable, also for what goes wrong while the body is read.
        """
        connection: Connection | None = None
        response: http.client.HTTPResponse | None = None
        try:
            kept = self._take_idle() if repeatable else None
            connection, response = self._ask(kept, method, path, body, headers, deadline)
            yield response
            if response.isclosed() and not response.will_close:
                self._keep(connection)
                connection = None
        except TimeoutError as error:
            raise DeadlineExceeded(f"{self.url} didn't answer before the deadline") from error
        except (OSError, http.client.HTTPException, ValueError) as error:
            reason = getattr(error, "strerror", None) or type(error).__name__
            raise StoreUnavailable(f"{self.url} can't be used: {reason}") from error
        finally:
            if response is not None:
                response.close()
            if connection is not None:
                connection.close()

    def close(self) -> None:
        """Close the idle connections; the pool can be used again."""
        with self._lock:
            _close_all(self._idle)

    def _ask(
        self,
        kept: Connection | None,
        method: str,
        path: str,
        body: bytes | None,
        headers: Mapping[str, str],
        deadline: Deadline,
    ) -> tuple[Connection, http.client.HTTPResponse]:
        if kept is not None:
            kept.use_for(deadline)
            try:
                return kept, _send(kept, method, self.prefix + path, body, headers)
            except ConnectionError:
                kept.close()
            except BaseException:
                kept.close()
                raise
        fresh = Connection(self._host, self._port, self._tls(), deadline)
        try:
            return fresh, _send(fresh, method, self.prefix + path, body, headers)
        except BaseException:
            fresh.close()
            raise

    def _take_idle(self) -> Connection | None:
        if self._pid != os.getpid():
            # The parent's sockets: closing our copies of them leaves the parent's connections alone.
            self._pid = os.getpid()
            self.close()
        with self._lock:
            return self._idle.pop() if self._idle else None

    def _keep(self, connection: Connection) -> None:
        with self._lock:
            if len(self._idle) < IDLE_MAX:
                self._idle.append(connection)
                return
        connection.close()

    def _tls(self) -> ssl.SSLContext | None:
        if self._secure and self._context is None:
            import ssl

            self._context = ssl.create_default_context()
        return self._context


def _close_all(connections: list[Connection]) -> None:
    while connections:
        connections.pop().close()


def _send(
    connection: Connection, method: str, path: str, body: bytes | None, headers: Mapping[str, str]
) -> http.client.HTTPResponse:
    try:
        connection.request(method, path, body=body, headers=dict(headers))
    except (BrokenPipeError, ConnectionResetError) as error:
        # A store that refuses a body answers before it has read it: that answer says why.
        try:
            return connection.getresponse()
        except (OSError, http.client.HTTPException):
            raise error from None
    return connection.getresponse()
