"""Ahead: a value that a thread works out before it is asked for."""

from __future__ import annotations

import threading
from collections.abc import Callable
from typing import Generic, TypeVar

from .fork import ForkLock

T = TypeVar("T")


class Ahead(Generic[T]):
    """`make()` is worked out once, by `begin` in a thread, or by who asks first."""

    def __init__(self, make: Callable[[], T]) -> None:
        self._make = make
        self._lock = ForkLock()
        self._thread: threading.Thread | None = None
        self._made: tuple[T] | None = None

    def begin(self) -> None:
        """Begin in a daemon thread, unless that was done. Never raises and never waits."""
        with self._lock:
            if self._made is not None or self._thread is not None:
                return
            self._thread = threading.Thread(target=self._run, name="inductory-ahead", daemon=True)
        try:
            self._thread.start()
        except RuntimeError:  # the interpreter is on its way out
            self._thread = None

    def value(self) -> T:
        """Return the value; waits for a thread that is at it. Raises what `make` raises."""
        thread = self._thread
        if thread is not None and thread.is_alive():  # in a forked child it isn't
            thread.join()
        if self._made is None:
            self._made = (self._make(),)
        return self._made[0]

    def _run(self) -> None:
        try:
            self._made = (self._make(),)
        except Exception:  # who asks for the value tries again, and is told
            self._made = None
