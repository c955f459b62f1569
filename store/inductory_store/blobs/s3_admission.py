"""Who may ask a bucket that has gone silent: two at a time; the others are told so at once.

A bucket that hangs costs each caller its whole timeout, and as long it holds the thread that the caller is
answered by. A store all of whose threads wait for a bucket gives no lease and answers no question to the
catalog alone, and can't even say that it is unwell.

    answering  -- calls wait, or ended without an answer, and nothing was answered meanwhile -->  silent
        ^                                                                                           |
        |______________________ any call was answered, with an error of the bucket's, too __________|

So nothing is timed: whoever tries a silent bucket finds when it is back.
"""

from __future__ import annotations

import functools
import threading
import time
from collections.abc import Callable
from typing import Any

from botocore.exceptions import (
    ClientError,
    ConnectionError,
    ConnectTimeoutError,
    HTTPClientError,
    ReadTimeoutError,
)
from inductory_client.contract.errors import StorageFailed

SILENCE_S = 2.0
"""After so long without a word a call is waiting in vain: a client doesn't wait longer for us."""
TRIES_MAX = 2
"""How many calls try a silent bucket, and how many wait in vain before it is taken for silent: a single one
may have met a connection that was dead.
"""

_QUICK = frozenset({"get_object", "head_object"})
"""What is answered in no time; others send bytes first, or list."""


class Admission:
    """Watches the calls of one client. Safe for threads."""

    def __init__(self, clock: Callable[[], float] = time.monotonic) -> None:
        self._clock = clock
        self._lock = threading.Lock()
        self._under_way: dict[object, tuple[float, bool]] = {}
        """When each call began, and whether it is quick."""
        self._answered_at = float("-inf")
        self._silent = False

    def call(self, method: Callable[..., Any], quick: bool, **arguments: Any) -> Any:
        """Make a call. Raises StorageFailed where enough others try a silent bucket, and what `method`
        raises.
        """
        began = self._clock()
        call = object()
        with self._lock:
            if self._is_silent(began) and len(self._under_way) >= TRIES_MAX:
                raise StorageFailed("the bucket doesn't answer, and wasn't asked: other calls are trying it")
            self._under_way[call] = began, quick
        answered = silent = False
        try:
            found = method(**arguments)
            answered = True
            return found
        except ClientError:
            answered = True
            raise
        except (ConnectionError, HTTPClientError):
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
    """A client of S3 whose calls are made by an Admission, and not made again for a silent bucket."""

    def __init__(self, client: Any, admission: Admission) -> None:
        self._client = client
        self._admission = admission
        self._calls = frozenset(client.meta.method_to_api_mapping)
        client.meta.events.register_first("needs-retry.s3", self._before_retry)

    def __getattr__(self, name: str) -> Any:
        found = getattr(self._client, name)
        if name not in self._calls:
            return found
        return functools.partial(self._admission.call, found, name in _QUICK)

    def _before_retry(self, caught_exception: Exception | None = None, **_: Any) -> None:
        timed_out = isinstance(caught_exception, ConnectTimeoutError | ReadTimeoutError)
        if timed_out and self._admission.is_silent():
            raise caught_exception  # type: ignore[misc]
