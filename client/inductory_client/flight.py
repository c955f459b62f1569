"""Flights: of the processes of a node one at a time asks the store for the same; the others then look for
what it got.

    <root>/flights/3f    locked while artifacts are fetched whose keys have this digest, shortened

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
def one_a_node(root: Path, keys: Iterable[str], deadline: Deadline) -> Iterator[None]:
    """Have the block to ourselves on this node, as far as others mean the same keys.

    Whoever has had it longer than half of the time that is left here isn't waited for any more: it may be
    frozen. Neither is anybody where `root` can't be written to. Raises DeadlineExceeded.
    """
    try:
        lock = _opened(root, digest_of_json(sorted(keys))[:2])
    except OSError:
        yield
        return
    try:
        _wait_for(lock, deadline.half())
        yield
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


def _wait_for(lock: int, patience: Deadline) -> None:
    while True:
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            try:
                time.sleep(min(LOOK_EVERY_S, patience.remaining()))
            except DeadlineExceeded:
                return
        except OSError:
            return  # a file system without locks
        else:
            return
