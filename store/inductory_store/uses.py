"""What was used lately, in this process's memory, until it is noted in the catalog."""

from __future__ import annotations

import threading
import time
from collections import OrderedDict
from collections.abc import Callable, Iterable
from typing import NamedTuple

from inductory_client.contract.lifetime import Kind

from .catalog.lifetimes import USE_EVERY_S

WAITING_MAX = 1 << 16
"""Uses that wait to be noted; what comes on top is remembered when it is used again."""
REMEMBERED_MAX = 1 << 18


class Use(NamedTuple):
    """Something that was used."""

    kind: Kind
    namespace: str
    key: str


class Uses:
    """Remembers uses until somebody takes them, each once in six hours. Safe for threads.

    Remembering asks nobody and waits for nothing. A process that dies forgets what nobody took, a minute's;
    so a last use in the catalog is up to six hours and a minute older than the use. An answer from memory
    was worked out some seconds before, and that is the use.
    """

    def __init__(self, clock: Callable[[], float] = time.monotonic) -> None:
        self._clock = clock
        self._lock = threading.Lock()
        self._remembered: OrderedDict[Use, float] = OrderedDict()
        """Until when a use isn't to be noted again. The oldest is in front."""
        self._waiting: set[Use] = set()

    def add(self, kind: Kind, namespace: str, keys: Iterable[str]) -> None:
        """Remember that things were used."""
        now = self._clock()
        with self._lock:
            for key in keys:
                use = Use(kind, namespace, key)
                if self._remembered.get(use, 0.0) > now or len(self._waiting) == WAITING_MAX:
                    continue
                self._waiting.add(use)
                self._remembered[use] = now + USE_EVERY_S
                self._remembered.move_to_end(use)
            while len(self._remembered) > REMEMBERED_MAX:
                self._remembered.popitem(last=False)

    def take(self) -> set[Use]:
        """Return what waits to be noted, and wait with it no longer."""
        with self._lock:
            taken, self._waiting = self._waiting, set()
            return taken

    def forget(self, uses: Iterable[Use]) -> None:
        """Have these noted when they are used again: they couldn't be."""
        with self._lock:
            for use in uses:
                self._remembered.pop(use, None)
