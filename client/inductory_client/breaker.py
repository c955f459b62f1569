"""The circuit breaker: a store that keeps failing isn't asked for a while.

closed  --failures_max in a row-->  open  --after reset_s-->  half-open: one call may try
   ^                                 ^                                   |
   |________ it was answered ________|____________ it failed ____________|
"""

from __future__ import annotations

import time
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Literal

from .contract.errors import (
    BreakerOpen,
    Corrupt,
    DigestMismatch,
    InductoryError,
    SizeMismatch,
    StorageFull,
)
from .deadline import Clock
from .fork import ForkLock, begin_anew_in_children

State = Literal["closed", "open", "half-open"]

FAILURES_MAX = 3
RESET_S = 15.0


class CircuitBreaker:
    """Counts outages in a row, over all calls of a process. Safe for threads."""

    def __init__(
        self, failures_max: int = FAILURES_MAX, reset_s: float = RESET_S, clock: Clock = time.monotonic
    ) -> None:
        self._failures_max = failures_max
        self._reset_s = reset_s
        self._clock = clock
        self._lock = ForkLock()
        self._failures = 0
        self._opened_at: float | None = None
        self._probing = False
        begin_anew_in_children(self)

    def after_fork(self) -> None:
        self._probing = False  # whoever tried the store did so in the parent

    @property
    def state(self) -> State:
        with self._lock:
            return self._state()

    def open(self) -> None:
        """Leave the store alone from now on, as after failures in a row."""
        with self._lock:
            self._failures, self._opened_at = self._failures_max, self._clock()

    @contextmanager
    def call(self) -> Iterator[None]:
        """Let one call through and judge it by how it leaves.

        Raises BreakerOpen, without a call, while the store is left alone. An error below 500 is an answer
        like any other, and so is a full store, which can still be read. Bytes that came damaged say nothing
        about the store, and neither does an error that isn't ours (an interrupt).
        """
        probe = self._enter()
        try:
            yield
        except (Corrupt, DigestMismatch, SizeMismatch):
            self._leave(probe, answered=None)
            raise
        except InductoryError as error:
            self._leave(probe, answered=error.status < 500 or isinstance(error, StorageFull))
            raise
        except BaseException:
            self._leave(probe, answered=None)
            raise
        self._leave(probe, answered=True)

    def _state(self) -> State:
        if self._opened_at is None:
            return "closed"
        return "open" if self._clock() - self._opened_at < self._reset_s else "half-open"

    def _enter(self) -> bool:
        """Return whether the call is the one that tries a store that failed."""
        with self._lock:
            state = self._state()
            if state == "open" or (state == "half-open" and self._probing):
                raise BreakerOpen
            self._probing = state == "half-open"
            return self._probing

    def _leave(self, probe: bool, answered: bool | None) -> None:
        with self._lock:
            if probe:
                self._probing = False
            if answered:
                self._failures, self._opened_at = 0, None
            elif answered is False:
                self._failures += 1
                if probe or self._failures >= self._failures_max:
                    self._opened_at = self._clock()
