"""Forks: a child has but the thread that forked; a lock that another one held would be held for ever.

Serving processes fork their workers whenever they like. So what has a lock begins anew in a child, and so
does what counts threads.
"""

from __future__ import annotations

import os
import threading
from typing import Protocol
from weakref import WeakSet


class Forked(Protocol):
    """Something that is to know when it is in a new process."""

    def after_fork(self) -> None:
        """Begin anew. Called in the child, before any code of its own runs; no other thread is there."""


_forked: WeakSet[Forked] = WeakSet()


def begin_anew_in_children(part: Forked) -> None:
    """Have `part.after_fork` called in every child, for as long as `part` lives."""
    _forked.add(part)


class ForkLock:
    """A lock that is free at first in every child."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        begin_anew_in_children(self)

    def __enter__(self) -> None:
        self._lock.acquire()

    def __exit__(self, *_: object) -> None:
        self._lock.release()

    def after_fork(self) -> None:
        self._lock = threading.Lock()


def _after_fork() -> None:
    for part in list(_forked):
        part.after_fork()


os.register_at_fork(after_in_child=_after_fork)
