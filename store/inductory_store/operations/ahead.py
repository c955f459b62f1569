"""Reading ahead: the next few blobs come while one is used, since a bucket takes its time for each."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Generator, Iterable
from concurrent.futures import Future, ThreadPoolExecutor
from typing import TypeVar

AHEAD_MAX = 8

T = TypeVar("T")
R = TypeVar("R")


def read_ahead(read: Callable[[T], R], items: Iterable[T]) -> Generator[R]:
    """Yield `read(item)` for each item, in order; at most AHEAD_MAX are under way or wait to be taken.

    What a call raises is raised in its place. Whoever stops early waits for the calls under way.
    """
    with ThreadPoolExecutor(AHEAD_MAX, "inductory-ahead") as pool:
        waiting: deque[Future[R]] = deque()
        try:
            for item in items:
                if len(waiting) == AHEAD_MAX:
                    yield waiting.popleft().result()
                waiting.append(pool.submit(read, item))
            while waiting:
                yield waiting.popleft().result()
        finally:
            for each in waiting:
                each.cancel()
