"""Who may ask a bucket that has gone silent: two at a time; the others are told so at once.

A bucket that hangs costs each caller its whole timeout, and as long it holds the thread that the caller is
answered by. A store all of whose threads wait for a bucket gives no lease and answers no question to the
catalog alone, and can't even say that it is unwell.

    answering  -- calls wait, or ended without an answer, and nothing was answered meanwhile -->  silent
        ^                                                                                           |
        |______________________ any call was answered, with an error of the bucket's, too __________|

How long it stays silent isn't guessed: whoever tries it finds when it is back.
"""

from __future__ import annotations

import functools
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

from botocore.exceptions import (
    ClientError,
    ConnectionError,
    ConnectTimeoutError,
    HTTPClientError,
    ReadTimeoutError,
)
from inductory_client.contract.errors import StorageFailed
from urllib3.exceptions import HTTPError

SILENCE_S = 2.0
"""After so long without a word a call is waiting in vain: a client doesn't wait longer for us."""
TRIES_MAX = 2
"""How many calls try a silent bucket, and how many wait in vain before it is taken for silent: a single one
may have met a connection that was dead.
"""


class Admission:
    """Watches the calls of one client. Safe for threads."""

    def __init__(self, clock: Callable[[], float] = time.monotonic) -> None:
        self._clock = clock
        self._lock = threading.Lock()
        self._under_way: dict[object, tuple[float, bool]] = {}
        """When each wait began, and whether it is quick: others send bytes first, or list."""
        self._answered_at = float("-inf")
        self._silent = False

    @contextmanager
    def asking(self, *, quick: bool, decides: bool = True) -> Iterator[None]:
        """Wait for the bucket inside. That it came to an end is an answer, unless there is more to come and
        it `decides` nothing. Raises StorageFailed at once where enough others try a silent bucket.
        """
        began = self._clock()
        call = object()
        with self._lock:
            if self._is_silent(began) and len(self._under_way) >= TRIES_MAX:
                raise StorageFailed("the bucket doesn't answer, and wasn't asked: other calls are trying it")
            self._under_way[call] = began, quick
        answered = silent = False
        try:
            yield
            answered = decides
        except ClientError:
            answered = True
            raise
        except (ConnectionError, HTTPClientError, HTTPError, OSError):
            silent = True
            raise
        finally:
            with self._lock:
                del self._under_way[call]
                if answered:
                    self._answered_at, self._silent = self._clock(), False
                elif silent and self._answered_at < began:
                    self._silent = True

    def is_silent(self) -> bool:
        with self._lock:
            return self._is_silent(self._clock())

    def _is_silent(self, now: float) -> bool:
        since = now - SILENCE_S
        if not self._silent and self._answered_at <= since:
            in_vain = sum(quick and began <= since for began, quick in self._under_way.values())
            self._silent = in_vain >= TRIES_MAX
        return self._silent


class AdmittedClient:
    """A client of S3 that asks by an Admission, and not again where the bucket is silent."""

    def __init__(self, client: Any, admission: Admission) -> None:
        self._client = client
        self._admission = admission
        self._calls = frozenset(client.meta.method_to_api_mapping)
        client.meta.events.register_first("needs-retry.s3", self._before_retry)

    def get_object(self, **arguments: Any) -> dict[str, Any]:
        """Open an object. A bucket that gives its headers, and nothing after them, has answered nothing."""
        with self._admission.asking(quick=True, decides=False):
            answer = self._client.get_object(**arguments)
        return {**answer, "Body": _AdmittedBody(answer["Body"], self._admission)}

    def __getattr__(self, name: str) -> Any:
        found = getattr(self._client, name)
        return functools.partial(self._ask, name, found) if name in self._calls else found

    def _ask(self, name: str, method: Callable[..., Any], **arguments: Any) -> Any:
        with self._admission.asking(quick=name == "head_object"):
            return method(**arguments)

    def _before_retry(self, caught_exception: Exception | None = None, **_: Any) -> None:
        timed_out = isinstance(caught_exception, ConnectTimeoutError | ReadTimeoutError)
        if timed_out and self._admission.is_silent():
            raise caught_exception  # type: ignore[misc]


class _AdmittedBody:
    def __init__(self, body: Any, admission: Admission) -> None:
        # As a context manager, botocore's body gives the stream below it, of which one may ask for what is
        # there already: `read` waits for all that it was asked for, however slowly it drips.
        self._stream = body.__enter__()
        self._admission = admission

    def read1(self, bytes_max: int) -> bytes:
        with self._admission.asking(quick=True):
            piece: bytes = self._stream.read1(bytes_max)
        return piece

    def close(self) -> None:
        self._stream.close()
