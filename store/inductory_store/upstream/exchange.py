"""The exchange: one request to upstream and its answer, within a deadline and through the breaker."""

from __future__ import annotations

import http.client
import secrets
import ssl
import threading
from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager
from typing import TypeVar
from urllib.parse import SplitResult, urlsplit

from inductory_client.contract.errors import (
    BadSettings,
    InductoryError,
    Malformed,
    UpstreamUnavailable,
    UpstreamWrong,
    error_from_code,
)
from inductory_client.contract.wire import MESSAGE_BYTES_MAX, Problem, decode, encode
from msgspec import Struct

from inductory_store.blobs.unpacking import CHUNK_BYTES

from .breaker import Breaker
from .connection import Connection, Deadline
from .way import HEADER, passed

BYTES_PER_S_MIN = 64 << 10
"""Least rate of a long body, either way."""
IDLE_MAX = 16
"""Connections that are kept between exchanges."""
_FAULTS = (500, 502, 503, 504)
"""Statuses of an upstream that isn't well. 507 is well: it can still be read."""

T = TypeVar("T")
Body = bytes | Iterable[bytes] | None


def split_address(url: str) -> SplitResult:
    """Return the parts of an upstream's address. Raises BadSettings."""
    try:
        parts = urlsplit(url)
        good = (
            parts.scheme in ("http", "https") and bool(parts.hostname) and (parts.port is None or parts.port)
        )
    except ValueError:
        good = False
    if not good or parts.username is not None or parts.query or parts.fragment:
        raise BadSettings(f"{url!r} is no address of a store: give http://HOST:PORT or https://HOST")
    return parts


class Exchange:
    """Asks one upstream. Safe for threads; no exchange outlives its deadline.

    Raises UpstreamUnavailable where upstream can't be reached, is silent, or is left alone for now.
    """

    def __init__(self, url: str, timeout_s: float) -> None:
        parts = split_address(url)
        self.url = url
        self.timeout_s = timeout_s
        self.name = secrets.token_hex(8)
        """Names this process on the way of a request."""
        self.breaker = Breaker()
        self._host, self._prefix = parts.hostname or "", parts.path.rstrip("/")
        self._port = parts.port or (443 if parts.scheme == "https" else 80)
        self._tls = ssl.create_default_context() if parts.scheme == "https" else None
        self._lock = threading.Lock()
        self._idle: list[Connection] = []
        self._lent: set[Connection] = set()
        self._closed = False

    def close(self) -> None:
        """Hang up, also on those who wait: they raise UpstreamUnavailable, and nobody may ask any more."""
        with self._lock:
            self._closed = True
            lent, idle = list(self._lent), list(self._idle)
            self._idle.clear()
        for each in lent:
            each.hang_up()
        for each in idle:
            each.close()

    def ask(self, method: str, path: str, answer_type: type[T], message: Struct | None = None) -> T:
        """Send a message, if there is one, and read one.

        Raises UpstreamWrong where that is nonsense, and the error that upstream names.
        """
        headers = {"Accept-Encoding": "identity"}
        body = None
        if message is not None:
            headers["Content-Type"], body = "application/json", encode(message)
        with self.opened(method, path, headers, body) as (response, _):
            data = read_whole(response)
            check_status(response.status, data)
        try:
            return decode(data, answer_type)
        except Malformed as error:
            raise UpstreamWrong(f"{path} is no {answer_type.__name__}: {error}") from error

    @contextmanager
    def opened(
        self, method: str, path: str, headers: Mapping[str, str], body: Body = None, *, extra_s: float = 0.0
    ) -> Iterator[tuple[http.client.HTTPResponse, Deadline]]:
        """Yield any answer, to be read inside, and the deadline, which its reader may extend.

        The breaker judges what upstream did: what its reader or the sender of `body` raises isn't its doing.
        """
        deadline = Deadline(self.timeout_s + extra_s)
        names = ",".join((*passed.get(), self.name))
        headers = {**headers, HEADER: names}
        self.breaker.enter()
        failure, answered = None, False
        connection: Connection | None = None
        response: http.client.HTTPResponse | None = None
        try:
            connection, response = self._asked(method, self._prefix + path, headers, body, deadline)
            answered = True  # whatever becomes of it; a body that breaks off is a failure all the same
            yield response, deadline
            if response.status in _FAULTS:
                failure = f"upstream answers with status {response.status}"
            if response.isclosed() and not response.will_close:
                self._keep(connection)
                connection = None
        except UpstreamUnavailable as error:
            failure = error.message
            raise
        except TimeoutError as error:
            failure = "upstream didn't answer in time"
            raise UpstreamUnavailable(failure) from error
        except (OSError, http.client.HTTPException, ValueError) as error:
            failure = f"upstream can't be used: {getattr(error, 'strerror', None) or type(error).__name__}"
            raise UpstreamUnavailable(failure) from error
        finally:
            self.breaker.leave(failure, answered=answered)
            if response is not None:
                response.close()
            if connection is not None:
                self._drop(connection)

    def _asked(
        self, method: str, path: str, headers: Mapping[str, str], body: Body, deadline: Deadline
    ) -> tuple[Connection, http.client.HTTPResponse]:
        # All that is asked may be asked twice, but a body that is read while it arrives is there once.
        kept = self._lend(deadline) if body is None or isinstance(body, bytes) else None
        if kept is not None:
            try:
                return kept, _answer(kept, method, path, headers, body)
            except ConnectionError:  # upstream closed it meanwhile
                self._drop(kept)
            except BaseException:
                self._drop(kept)
                raise
        fresh = Connection(self._host, self._port, self._tls, deadline)
        with self._lock:
            if self._closed:
                raise UpstreamUnavailable("this store is about to end")
            self._lent.add(fresh)
        try:
            return fresh, _answer(fresh, method, path, headers, body)
        except BaseException:
            self._drop(fresh)
            raise

    def _lend(self, deadline: Deadline) -> Connection | None:
        with self._lock:
            if not self._idle:
                return None
            connection = self._idle.pop()
            self._lent.add(connection)
        connection.use_for(deadline)
        return connection

    def _keep(self, connection: Connection) -> None:
        with self._lock:
            self._lent.discard(connection)
            if len(self._idle) < IDLE_MAX and not self._closed:
                self._idle.append(connection)
                return
        connection.close()

    def _drop(self, connection: Connection) -> None:
        with self._lock:
            self._lent.discard(connection)
        connection.close()


def _answer(
    connection: Connection, method: str, path: str, headers: Mapping[str, str], body: Body
) -> http.client.HTTPResponse:
    chunked = body is not None and not isinstance(body, bytes) and "content-length" not in headers
    sent = {**headers, "Transfer-Encoding": "chunked"} if chunked else dict(headers)
    try:
        connection.request(method, path, body, sent, encode_chunked=chunked)
    except (BrokenPipeError, ConnectionResetError) as error:
        # Who refuses a body may answer before it was read: that answer says why.
        try:
            return connection.getresponse()
        except (OSError, http.client.HTTPException):
            raise error from None
    return connection.getresponse()


def read_whole(response: http.client.HTTPResponse, bytes_max: int = MESSAGE_BYTES_MAX) -> bytes:
    """Return a body. Raises UpstreamWrong past the bound, UpstreamUnavailable where it is cut short."""
    parts: list[bytes] = []
    for part in chunks(response):
        bytes_max -= len(part)
        if bytes_max < 0:
            raise UpstreamWrong("upstream's answer is longer than any may be")
        parts.append(part)
    return b"".join(parts)


def chunks(response: http.client.HTTPResponse) -> Iterator[bytes]:
    """Yield a body. Raises UpstreamUnavailable where it is cut short."""
    try:
        while part := response.read(CHUNK_BYTES):
            yield part
    except TimeoutError as error:
        raise UpstreamUnavailable("upstream didn't answer in time") from error
    except (OSError, http.client.HTTPException) as error:
        raise UpstreamUnavailable("upstream's answer broke off") from error
    if response.length:
        raise UpstreamUnavailable("upstream's answer is cut short")


def check_status(status: int, body: bytes) -> None:
    """Raise what an answer stands for that isn't good; one that is no problem of ours is an outage."""
    if status in (200, 201):
        return
    try:
        problem = decode(body, Problem)
    except Malformed:
        raise UpstreamUnavailable(f"upstream answers with status {status}") from None
    if status in _FAULTS:
        raise UpstreamUnavailable(f"upstream isn't well: {problem.detail}")
    error: InductoryError = error_from_code(problem.code, problem.detail)
    raise error
