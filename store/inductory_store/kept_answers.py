"""Answers that are right for a while, kept in this process: a hot model is asked for by every node."""

from __future__ import annotations

import threading
import time
from collections import OrderedDict
from collections.abc import Callable, Hashable

KEPT_S = 10.0
"""How long another process of the store may go on answering from before something changed."""
MOMENT_S = 1.0
ANSWER_BYTES_MAX = 16 << 20
"""The bundle of a model's start has some megabytes."""
BYTES_MAX = 128 << 20
_TURNS = 64


class KeptAnswers:
    """The most recently used answers, by question. Safe for threads.

    What is kept must stay harmless where it is outdated: clients check every byte that an answer names.
    """

    def __init__(self, bytes_max: int = BYTES_MAX, clock: Callable[[], float] = time.monotonic) -> None:
        self._bytes_max = bytes_max
        self._clock = clock
        self._lock = threading.Lock()
        self._kept: OrderedDict[Hashable, tuple[float, bytes]] = OrderedDict()
        self._bytes = 0
        self._changes = 0
        self._turns = tuple(threading.Lock() for _ in range(_TURNS))

    def turn(self, question: Hashable) -> threading.Lock:
        """Return a lock to hold while an answer is worked out that takes long: who else asks then waits, and
        looks again.
        """
        return self._turns[hash(question) % _TURNS]

    @property
    def changes(self) -> int:
        """How often all was forgotten; to be read before an answer is worked out, and told to `keep`."""
        return self._changes

    def get(self, question: Hashable) -> bytes | None:
        """Return an answer, None where it is to be worked out.

        Of those who ask for one that is old, one is told so, and the others have it for a moment longer: else
        all of them would work it out at once.
        """
        with self._lock:
            found = self._kept.get(question)
            if found is None:
                return None
            until, answer = found
            self._kept.move_to_end(question)
            now = self._clock()
            if now < until:
                return answer
            if now < until + KEPT_S:
                self._kept[question] = (now + MOMENT_S, answer)
            else:
                self._drop(question)
            return None

    def keep(self, question: Hashable, answer: bytes, changes: int) -> None:
        """Keep an answer, unless it is long, or was begun before something changed."""
        if len(answer) > min(ANSWER_BYTES_MAX, self._bytes_max):
            return
        with self._lock:
            if changes != self._changes:
                return
            self._drop(question)
            self._kept[question] = (self._clock() + KEPT_S, answer)
            self._bytes += len(answer)
            while self._bytes > self._bytes_max:
                self._drop(next(iter(self._kept)))

    def forget(self, question: Hashable | None = None) -> None:
        """Forget one answer, or everything: something that was promised isn't there."""
        with self._lock:
            self._changes += 1
            for each in list(self._kept) if question is None else [question]:
                self._drop(each)

    def _drop(self, question: Hashable) -> None:
        found = self._kept.pop(question, None)
        if found is not None:
            self._bytes -= len(found[1])
