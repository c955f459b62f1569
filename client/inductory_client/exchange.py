"""The exchange: a question to the store and its answer, within a deadline and through the circuit breaker."""

from __future__ import annotations

import http.client
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from typing import TypeVar

from msgspec import Struct

from .breaker import CircuitBreaker
from .contract.errors import InductoryError, Malformed, StoreUnavailable, TooLarge, error_from_code
from .contract.wire import MESSAGE_BYTES_MAX, Problem, decode, encode
from .deadline import Deadline
from .pool import ConnectionPool
from .version import __version__

CALL_S = 30.0
"""What a call may take where its caller names no deadline."""
GOOD = (200, 201)
ELSEWHERE = 307
"""The status of an answer that says where the bytes are."""
_READ_BYTES = 1 << 20

T = TypeVar("T")


class Answer(Struct, frozen=True):
    """The bytes of an answer, and how they are packed."""

    body: bytes
    encoding: str
    elsewhere: str | None = None
    """Where the bytes are, if they aren't in the answer."""


class Exchange:
    """Asks one store. Questions raise the error that the store names, and what the pool and breaker raise."""

    def __init__(self, url: str, breaker: CircuitBreaker) -> None:
        self.url = url
        self.breaker = breaker
        self._pool = ConnectionPool(url)

    def close(self) -> None:
        self._pool.close()

    def ask(
        self,
        method: str,
        path: str,
        answer_type: type[T],
        message: Struct | None = None,
        deadline: Deadline | None = None,
        statuses: tuple[int, ...] = GOOD,
        repeatable: bool = True,
        headers: Mapping[str, str] | None = None,
    ) -> T:
        """Send a message, if there is one, and read one. Raises StoreUnavailable where that is nonsense."""
        body = None if message is None else encode(message)
        headers = {**({} if message is None else {"Content-Type": "application/json"}), **(headers or {})}
        with self.opened(method, path, headers, body, deadline, statuses, repeatable) as response:
            answer = read_body(response, MESSAGE_BYTES_MAX)
            try:
                return decode(answer, answer_type)
            except Malformed as error:
                raise StoreUnavailable(f"{self.url} answers nonsense: {error}") from error

    def ask_bytes(
        self,
        method: str,
        path: str,
        headers: Mapping[str, str],
        body: bytes | None,
        deadline: Deadline | None,
        bytes_max: int = MESSAGE_BYTES_MAX,
        statuses: tuple[int, ...] = GOOD,
    ) -> Answer:
        """Send bytes, if there are any, and read at most `bytes_max`. Raises TooLarge."""
        with self.opened(method, path, headers, body, deadline, statuses) as response:
            encoding = response.headers.get("Content-Encoding", "identity")
            elsewhere = response.headers.get("Location", "") if response.status == ELSEWHERE else None
            return Answer(read_body(response, bytes_max), encoding, elsewhere)

    @contextmanager
    def opened(
        self,
        method: str,
        path: str,
        headers: Mapping[str, str],
        body: bytes | None = None,
        deadline: Deadline | None = None,
        statuses: tuple[int, ...] = GOOD,
        repeatable: bool = True,
    ) -> Iterator[http.client.HTTPResponse]:
        """Yield a good answer, to be read inside. The breaker judges how this block is left."""
        headers = {"User-Agent": f"inductory/{__version__}", "Accept-Encoding": "identity", **headers}
        deadline = deadline or Deadline(CALL_S)
        with (
            self.breaker.call(),
            self._pool.exchange(method, path, body, headers, deadline, repeatable) as response,
        ):
            if response.status not in statuses:
                raise self._problem(response.status, read_body(response, MESSAGE_BYTES_MAX))
            yield response

    def _problem(self, status: int, body: bytes) -> InductoryError:
        """Return the error that an answer stands for; one that isn't a problem of ours is an outage."""
        try:
            problem = decode(body, Problem)
        except Malformed:
            return StoreUnavailable(f"{self.url} answers with status {status}")
        return error_from_code(problem.code, problem.detail)


def read_body(response: http.client.HTTPResponse, bytes_max: int) -> bytes:
    """Return the whole body. Raises TooLarge past the bound, StoreUnavailable where it is cut short."""
    parts: list[bytes] = []
    room = bytes_max + 1
    while room and (part := response.read(min(room, _READ_BYTES))):
        parts.append(part)
        room -= len(part)
    if not room:
        raise TooLarge(f"the store's answer is longer than {bytes_max} bytes")
    if response.length:
        raise StoreUnavailable("the store's answer is cut short")
    return b"".join(parts)
