"""Trouble: the one logger of the client, and warnings that are given once."""

from __future__ import annotations

import logging

from .fork import ForkLock

log = logging.getLogger("inductory")

_KINDS_MAX = 1000
_lock = ForkLock()
_given: set[str] = set()


def warn_once(kind: str, message: str, *args: object) -> None:
    """Log a warning unless one of this kind was given before in this process; later ones go to debug."""
    with _lock:
        first = kind not in _given and len(_given) < _KINDS_MAX
        if first:
            _given.add(kind)
    log.log(logging.WARNING if first else logging.DEBUG, message, *args)


def forget_warnings() -> None:
    """Let every kind of trouble be warned about again."""
    with _lock:
        _given.clear()
