"""Collection: Python's garbage collector, which waits while much is made that lives long."""

from __future__ import annotations

import contextlib
import gc
from collections.abc import Iterator

from .fork import ForkLock, begin_anew_in_children


class _Pauses:
    """How many blocks have the collector wait."""

    def __init__(self) -> None:
        self._lock = ForkLock()
        self._count = 0
        self._was_enabled = False
        begin_anew_in_children(self)

    def begin(self) -> None:
        with self._lock:
            if not self._count:
                self._was_enabled = gc.isenabled()
                gc.disable()
            self._count += 1

    def end(self) -> None:
        with self._lock:
            self._count = max(0, self._count - 1)  # a child of a fork inside the block begins anew
            if not self._count and self._was_enabled:
                gc.enable()

    def after_fork(self) -> None:
        if self._count and self._was_enabled:
            gc.enable()
        self._count = 0


_PAUSES = _Pauses()


@contextlib.contextmanager
def collection_paused() -> Iterator[None]:
    """Keep the collector from looking through the process's objects meanwhile: what is loaded sets it off,
    and lives on (it takes 0.1 to 0.4 s among torch's objects).

    Safe for threads, and blocks may lie in each other. A collector that was switched off stays so.
    """
    _PAUSES.begin()
    try:
        yield
    finally:
        _PAUSES.end()
