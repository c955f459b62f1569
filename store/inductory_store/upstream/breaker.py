"""The breaker: an upstream that keeps failing isn't asked for some seconds, so that nobody waits for it."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable

from inductory_client.contract.errors import UpstreamUnavailable

FAILURES_MAX = 2
"""A failure may have cost the whole timeout: two in a row are enough."""
RESET_S = 5.0


class Breaker:
    """Counts failures in a row. Safe for threads.

    Each `enter` that didn't raise is followed by one `leave`.
    """

    def __init__(self, clock: Callable[[], float] = time.monotonic) -> None:
        self._clock = clock
        self._lock = threading.Lock()
        self._failures = 0
        self._open_until = 0.0
        self._trying = False
        self._reason = ""

    @property
    def reason(self) -> str:
        """What went wrong last; empty once upstream has answered again."""
        with self._lock:
            return self._reason

    def enter(self) -> None:
        """Let a call through. Raises UpstreamUnavailable while upstream is left alone, bar one try."""
        with self._lock:
            if self._failures < FAILURES_MAX:
                return
            if self._trying or self._clock() < self._open_until:
                raise UpstreamUnavailable(f"{self._reason}; it isn't asked again for some seconds")
            self._trying = True

    def leave(self, failure: str | None, *, answered: bool = True) -> None:
        """Judge a call by why it failed, None where it didn't; unless it was `answered` it says nothing."""
        with self._lock:
            self._trying = False
            if failure is not None:
                self._failures += 1
                self._reason = failure
                self._open_until = self._clock() + RESET_S
            elif answered:
                self._failures, self._reason = 0, ""
