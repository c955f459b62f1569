"""Prefetch: a build's bundle on its way while the process does something else."""

from __future__ import annotations

import os
import threading
from collections.abc import Callable

from .contract.errors import DeadlineExceeded
from .deadline import StoreBudget
from .fork import IMPORTED_BY_THREADS, ForkLock, import_in_thread
from .trouble import warn_once

WAIT_SHARE = 0.5
"""Which part of what is left of a start's budget is waited for a bundle; the rest is kept to resolve."""


class Prefetch:
    """Runs `pull` once, on a daemon thread. What it raises is warned about; a fetch asks for the rest."""

    def __init__(self, pull: Callable[[], None]) -> None:
        self._pull = pull
        self._lock = ForkLock()
        self._done = threading.Event()
        self._abandoned = False
        self._pid: int | None = None

    def start(self) -> None:
        """Begin, unless that was done before. Never raises and never waits."""
        with self._lock:
            if self._pid is not None:
                return
            self._pid = os.getpid()
        try:
            threading.Thread(target=self._run, name="inductory-prefetch", daemon=True).start()
        except RuntimeError:  # the interpreter is on its way out
            self._done.set()

    def wait(self, budget: StoreBudget) -> bool:
        """Wait for the end for a share of the start's budget; whether something may have come.

        What came before the end may be used, and there is time left to ask the store for the rest.
        """
        if self._pid != os.getpid():
            return False  # never begun, or begun by the process that this one was forked from
        if self._done.is_set():
            return True
        try:
            with budget.waiting() as deadline:
                self._done.wait(deadline.remaining() * WAIT_SHARE)
        except DeadlineExceeded:
            pass
        return True

    def join(self, seconds: float) -> None:
        """Wait for the end, for `seconds` at most."""
        if self._pid == os.getpid():
            self._done.wait(seconds)

    def abandon(self) -> None:
        """Nobody waits for it any more: what goes wrong from now on isn't worth a warning."""
        self._abandoned = True

    def _run(self) -> None:
        try:
            import_in_thread(IMPORTED_BY_THREADS)
            self._pull()
        except Exception as error:
            if not self._abandoned:
                warn_once("prefetch", "the build isn't pulled: %s", error)
        finally:
            self._done.set()
