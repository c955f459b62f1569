"""What upstream said a moment ago that it doesn't have, so that it isn't asked by every node of a fleet."""

from __future__ import annotations

import threading
import time
from collections import OrderedDict
from collections.abc import Callable, Hashable, Iterable

KEPT_S = 2.0
"""How long a miss is believed. What is published through here, or seen to be published, ends it at once."""
NAMES_MAX = 50_000


class Absent:
    """Names that upstream lacked. Safe for threads."""

    def __init__(self, clock: Callable[[], float] = time.monotonic) -> None:
        self._clock = clock
        self._lock = threading.Lock()
        self._until: OrderedDict[Hashable, float] = OrderedDict()
        self._changes = 0

    @property
    def changes(self) -> int:
        """How often all was forgotten; to be read before upstream is asked, and told to `note`."""
        return self._changes

    def knows(self, name: Hashable) -> bool:
        """Whether upstream lacked it a moment ago."""
        with self._lock:
            return self._clock() < self._until.get(name, 0.0)

    def note(self, names: Iterable[Hashable], changes: int) -> None:
        """Note what upstream lacks, unless it was asked before something changed."""
        with self._lock:
            if changes != self._changes:
                return
            for name in names:
                self._until[name] = self._clock() + KEPT_S
                self._until.move_to_end(name)
            while len(self._until) > NAMES_MAX:
                self._until.popitem(last=False)

    def forget(self) -> None:
        """Forget everything: something was published."""
        with self._lock:
            self._changes += 1
            self._until.clear()
