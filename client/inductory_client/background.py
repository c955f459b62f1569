"""Work in the background: one daemon thread, a bounded queue, a bounded end."""

from __future__ import annotations

import atexit
import os
import sys
import threading
import time
from collections import deque
from collections.abc import Callable
from typing import TYPE_CHECKING, Generic, TypeVar

from .deadline import Clock
from .trouble import warn_once

if TYPE_CHECKING:
    from multiprocessing.util import Finalize

T = TypeVar("T")

EXIT_PRIORITY = 10
"""Among multiprocessing's finalizers: the higher, the earlier."""


class Background(Generic[T]):
    """Hands items to `work`, in batches, on a thread that starts with the first item.

    Adding never waits: what the queue has no room for is dropped, counted, and warned about once. `work` must
    not raise; what it raises all the same is warned about, and costs its batch only. A forked child begins
    with an empty queue and a thread of its own: the parent sends what the parent was given.
    """

    def __init__(
        self,
        name: str,
        work: Callable[[list[T]], None],
        *,
        items_max: int,
        weight_max: int | None = None,
        batch_max: int = 1,
        pause_s: float = 0.0,
        exit_s: float = 0.0,
        clock: Clock = time.monotonic,
    ) -> None:
        """`weight_max` bounds the weights of all items held; `pause_s` lets a batch gather; `exit_s` bounds
        the exit.
        """
        self._name = name
        self._work = work
        self._items_max = items_max
        self._weight_max = weight_max
        self._batch_max = batch_max
        self._pause_s = pause_s
        self._exit_s = exit_s
        self._clock = clock
        self.dropped = 0
        self._reset()

    def add(self, item: T, weight: int = 0) -> bool:
        """Queue an item; False where it is dropped."""
        self._begin_again_after_fork()
        with self._changed:
            if not self._closed and self._has_room(weight) and self._start():
                self._queue.append((item, weight))
                self._weight += weight
                self._changed.notify_all()
                return True
            self.dropped += 1
        warn_once(
            f"background:{self._name}", "%s: the queue is full or closed; something is dropped", self._name
        )
        return False

    def drain(self, seconds: float) -> bool:
        """Wait until all is done, at most so long; whether it is."""
        self._begin_again_after_fork()
        end = self._clock() + seconds
        with self._changed:
            self._draining += 1
            self._changed.notify_all()
            try:
                while self._queue or self._busy:
                    left = end - self._clock()
                    if left <= 0 or self._thread is None:
                        return False
                    self._changed.wait(left)
                return True
            finally:
                self._draining -= 1

    def close(self, seconds: float) -> bool:
        """Drain and take nothing more; whether all is done. Idempotent."""
        done = self.drain(seconds)
        with self._changed:
            self._closed = True
            if self._queue:
                warn_once(f"background:{self._name}:left", "%s: %d left undone", self._name, len(self._queue))
                self._queue.clear()
                self._weight = 0
            self._changed.notify_all()
        atexit.unregister(self._at_exit)
        if self._finalizer is not None:
            self._finalizer.cancel()
        return done

    def _reset(self) -> None:
        self._pid = os.getpid()
        self._changed = threading.Condition()
        self._queue: deque[tuple[T, int]] = deque()
        self._weight = 0
        self._busy = False
        self._draining = 0
        self._closed = False
        self._thread: threading.Thread | None = None
        self._finalizer: Finalize | None = None

    def _begin_again_after_fork(self) -> None:
        # Before any lock is taken: a lock that another thread of the parent held is held for ever in the
        # child.
        if self._pid != os.getpid():
            self._reset()

    def _has_room(self, weight: int) -> bool:
        if len(self._queue) >= self._items_max:
            return False
        # One item that is heavier than all that is allowed still goes through alone.
        return self._weight_max is None or self._weight == 0 or self._weight + weight <= self._weight_max

    def _start(self) -> bool:
        if self._thread is None:
            thread = threading.Thread(target=self._run, name=f"inductory-{self._name}", daemon=True)
            try:
                thread.start()
            except RuntimeError:  # the interpreter is on its way out
                return False
            self._thread = thread
            self._end_with_the_process()
        return True

    def _end_with_the_process(self) -> None:
        atexit.register(self._at_exit)
        # A child of multiprocessing leaves by os._exit, past atexit, but runs its finalizers first. In such
        # a child the module is there; where it isn't, nobody pays for its import.
        util = sys.modules.get("multiprocessing.util")
        if util is not None:
            self._finalizer = util.Finalize(None, self._at_exit, exitpriority=EXIT_PRIORITY)

    def _run(self) -> None:
        while True:
            with self._changed:
                while not self._queue and not self._closed:
                    self._changed.wait()
                if self._closed:
                    return
                self._gather()
                batch = [self._queue.popleft() for _ in range(min(self._batch_max, len(self._queue)))]
                self._busy = True
            try:
                self._work([item for item, _ in batch])
            except Exception as error:
                warn_once(
                    f"background:{self._name}:{type(error).__name__}", "%s failed: %r", self._name, error
                )
            with self._changed:
                self._busy = False
                self._weight -= sum(weight for _, weight in batch)
                self._changed.notify_all()

    def _gather(self) -> None:
        """Wait a little for the batch to fill, unless somebody waits for it to be sent."""
        end = self._clock() + self._pause_s
        while len(self._queue) < self._batch_max and not self._draining and not self._closed:
            left = end - self._clock()
            if left <= 0:
                return
            self._changed.wait(left)

    def _at_exit(self) -> None:
        if self._pid == os.getpid():
            self.close(self._exit_s)
