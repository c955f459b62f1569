"""Deadlines: how long one call may take, and what a whole start may lose to the store."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager

from .contract.errors import DeadlineExceeded
from .fork import ForkLock, begin_anew_in_children

Clock = Callable[[], float]
"""Seconds that only grow."""

START_GAP_S = 600.0
"""Calls further apart than this belong to different starts."""
WAIT_S_MIN = 0.01
"""Less isn't worth a call: it would only make the store look slow."""


class Deadline:
    """A moment on a clock, after which a call is given up."""

    def __init__(self, seconds: float, clock: Clock = time.monotonic) -> None:
        self._clock = clock
        self._at = clock() + seconds

    def remaining(self) -> float:
        """Return the seconds that are left, more than 0. Raises DeadlineExceeded."""
        left = self._at - self._clock()
        if left <= 0:
            raise DeadlineExceeded
        return left

    def half(self) -> Deadline:
        """Return a deadline at half of what is left, for what there is another way to do. Raises
        DeadlineExceeded.
        """
        return Deadline(self.remaining() / 2, self._clock)


class StoreBudget:
    """The seconds that a start may lose to the store, over all its calls and threads.

    A start is a run of waits with less than ten minutes between them, so that a process which meets a new
    graph hours later has a fresh budget. Waits that overlap count once: a start loses time by the clock, not
    by the thread.
    """

    def __init__(self, seconds: float, clock: Clock = time.monotonic, gap_s: float = START_GAP_S) -> None:
        self.seconds = seconds
        self._clock = clock
        self._gap_s = gap_s
        self._lock = ForkLock()
        self._spent = 0.0
        self._waiting = 0
        self._since = clock()
        """When the waits that are going on began, or the last one ended."""
        begin_anew_in_children(self)

    def after_fork(self) -> None:
        self._waiting = 0  # those who wait do so in the parent

    def remaining(self) -> float:
        """Return the seconds that the start may still wait; 0 where they are spent."""
        with self._lock:
            return self._remaining()

    def spend(self, seconds: float) -> None:
        """Draw what the start has lost to us before it could ask the store."""
        with self._lock:
            self._spent = self.seconds - self._remaining() + seconds
            self._since = self._clock()

    @contextmanager
    def waiting(self, share: float = 1.0) -> Iterator[Deadline]:
        """Draw the time spent inside, and yield the deadline for it: when `share` of what is left is over.

        Raises DeadlineExceeded, without waiting, where the budget is spent.
        """
        with self._lock:
            left = self._remaining()
        if left < WAIT_S_MIN:
            raise DeadlineExceeded("this start has spent what it may wait for the store")
        with self.drawing():
            yield Deadline(left * share, self._clock)

    @contextmanager
    def drawing(self) -> Iterator[None]:
        """Draw the time spent inside, as what the start loses to us whether or not we ask the store."""
        with self._lock:
            if self._waiting == 0:
                self._spent = self.seconds - self._remaining()
                self._since = self._clock()
            self._waiting += 1
        try:
            yield
        finally:
            with self._lock:
                self._waiting -= 1
                if self._waiting == 0:
                    self._spent += self._clock() - self._since
                    self._since = self._clock()

    def _remaining(self) -> float:
        passed = self._clock() - self._since
        if self._waiting:
            return max(0.0, self.seconds - self._spent - passed)
        return max(0.0, self.seconds - self._spent) if passed < self._gap_s else self.seconds
