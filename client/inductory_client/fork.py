"""Forks: a child has but the thread that forked; a lock that another one held would be held for ever.

Serving processes fork their workers whenever they like. So what has a lock begins anew in a child, and so
does what counts threads. A module is locked, too, while it is imported: a fork waits for what threads import.
"""

from __future__ import annotations

import contextlib
import importlib
import os
import threading
from collections.abc import Iterable
from typing import Protocol
from weakref import WeakSet

IMPORTED_BY_THREADS = (
    "cryptography.hazmat.primitives.asymmetric.ed25519",
    "cryptography.hazmat.primitives.serialization",
    "xxhash",
    "ssl",
)
"""What a pull and a publication import when they first need it."""

IMPORT_WAIT_S = 2.0
"""How long a fork waits for threads that import something."""


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


_importing = threading.Lock()
_forking = threading.local()


def import_in_thread(names: Iterable[str]) -> None:
    """Import modules that a thread needs; those that aren't installed are left out.

    A child that is forked meanwhile would find them locked for ever, so a fork waits.
    """
    for name in names:
        with _importing, contextlib.suppress(ImportError):
            importlib.import_module(name)


def _before_fork() -> None:
    _forking.waited = _importing.acquire(timeout=IMPORT_WAIT_S)


def _after_fork_in_parent() -> None:
    if _forking.waited:
        _importing.release()


def _after_fork() -> None:
    global _importing
    _importing = threading.Lock()
    for part in list(_forked):
        part.after_fork()


os.register_at_fork(before=_before_fork, after_in_parent=_after_fork_in_parent, after_in_child=_after_fork)
