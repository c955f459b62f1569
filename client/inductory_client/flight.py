"""Flights: of the processes of a node one at a time asks the store for the same; the others then look for
what it got.

    <root>/flights/3f0   locked while artifacts are fetched whose keys have this digest, shortened

The lock is the kernel's: it goes with the process that holds it.
"""

from __future__ import annotations

import fcntl
import os
import time
from collections.abc import Iterable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from .contract.canonical_json import digest_of_json
from .contract.errors import DeadlineExceeded
from .deadline import Deadline

FOLDER = "flights"
LOOK_EVERY_S = 0.005


@contextmanager
def one_a_node(root: Path, keys: Iterable[str], deadline: Deadline) -> Iterator[bool]:
    """Have the block to ourselves on this node, as far as others mean the same keys; yield whether somebody
    else had it first.

    Nobody is waited for longer than half of the time that is left here: whoever has it may be frozen. Neither
    is anybody where `root` can't be written to. Raises DeadlineExceeded.
    """
    try:
        lock = _opened(root, digest_of_json(sorted(keys))[:3])
    except OSError:
        yield False
        return
    try:
        yield _wait_for(lock, deadline.half())
    finally:
        # A child that was forked meanwhile has the file open, too: closing it here would leave it locked.
        with suppress(OSError):
            fcntl.flock(lock, fcntl.LOCK_UN)
        os.close(lock)


def _opened(root: Path, name: str) -> int:
    folder = root / FOLDER
    root.mkdir(mode=0o700, parents=True, exist_ok=True)
    folder.mkdir(mode=0o700, exist_ok=True)
    return os.open(folder / name, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC | os.O_NOFOLLOW, 0o600)


def _wait_for(lock: int, patience: Deadline) -> bool:
    """Lock, or let it be; whether that was waited for."""
    waited = False
    while True:
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            waited = True
            try:
                time.sleep(min(LOOK_EVERY_S, patience.remaining()))
            except DeadlineExceeded:
                return waited
        except OSError:
            return waited  # a file system without locks
        else:
            return waited
