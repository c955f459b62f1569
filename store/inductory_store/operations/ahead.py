"""Reading ahead: the next few blobs come while one is used, since a bucket takes its time for each."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Generator, Iterable
from concurrent.futures import Future, ThreadPoolExecutor, wait
from typing import TypeVar

AHEAD_MAX = 8
"""For one reader."""
THREADS_MAX = 64
"""For all readers of a process."""

T = TypeVar("T")
R = TypeVar("R")

# Kept: to start threads for a question takes longer than to read what most ask for.
_pool = ThreadPoolExecutor(THREADS_MAX, "inductory-ahead")


def read_ahead(read: Callable[[T], R], items: Iterable[T]) -> Generator[R]:
    """Yield `read(item)` for each item, in order; at most AHEAD_MAX are under way or wait to be taken.

    What a call raises is raised in its place. Whoever stops early waits for the calls under way. `read` must
    not read ahead itself.
    """
    waiting: deque[Future[R]] = deque()
    try:
        for item in items:
            if len(waiting) == AHEAD_MAX:
                yield waiting.popleft().result()
            waiting.append(_pool.submit(read, item))
        while waiting:
            yield waiting.popleft().result()
    finally:
        wait([each for each in waiting if not each.cancel()])
