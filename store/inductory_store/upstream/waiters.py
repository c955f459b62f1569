"""Waiters: those who wait for keys of one namespace, and what upstream is asked for all of them."""

from __future__ import annotations

import asyncio
import time
from collections import Counter
from collections.abc import Callable, Iterable

from inductory_client.contract.lease import Standing

from .questions import Questions
from .said import Said


class _Waiter:
    def __init__(self, keys: Iterable[str], wait_s: float) -> None:
        self.keys = dict.fromkeys(keys).keys()
        self.over = wait_s == 0 or not self.keys
        """Whether it is told how its keys stand though all are held."""
        self.unheard = set(self.keys)
        """Of which keys it must hear first."""
        self.told: asyncio.Future[Standing] = asyncio.get_running_loop().create_future()


class Waiters:
    """A look says how keys stand, and those that are held are then watched.

    Who comes later for keys that are watched asks nothing: it is told what comes of the question under way.
    Nothing is kept of keys that nobody waits for.
    """

    def __init__(self, look: Callable[..., Questions], watch: Callable[..., Questions]) -> None:
        """Either makes Questions, given which keys are still wanted and whom to tell."""
        self._waiters: set[_Waiter] = set()
        self._wanted: Counter[str] = Counter()
        """How many wait for each key."""
        self._said = Said()
        self._looks = look(self._wanted.__contains__, self._looked)
        self._watches = watch(self._wanted.__contains__, self._watched)

    @property
    def busy(self) -> bool:
        """Whether anybody waits, or is being asked for."""
        return bool(self._waiters) or self._looks.busy or self._watches.busy

    async def standing(self, keys: Iterable[str], wait_s: float) -> Standing:
        """Return how keys stand as soon as one isn't held any more, or after `wait_s`.

        That they are held is known from a watch that hasn't ended, so it was true a moment ago.
        """
        waiter = _Waiter(keys, wait_s)
        self._waiters.add(waiter)
        self._wanted.update(waiter.keys)
        if not waiter.over:
            waiter.unheard -= self._said.held(waiter.keys)
        self._looks.want(waiter.unheard)
        try:
            if not waiter.over:
                await asyncio.wait([waiter.told], timeout=wait_s)
            self._let_go(waiter)
            return await waiter.told
        finally:
            self._leave(waiter)

    def close(self) -> None:
        """Let everybody go of whose keys it is known how they stand."""
        for waiter in list(self._waiters):
            self._let_go(waiter)

    def _let_go(self, waiter: _Waiter) -> None:
        waiter.over = True
        self._tell(waiter)

    def _tell(self, waiter: _Waiter) -> None:
        """Tell a waiter how its keys stand, if it is time."""
        if waiter.told.done() or waiter.unheard:
            return
        if waiter.over or len(self._said.held(waiter.keys)) < len(waiter.keys):
            waiter.told.set_result(self._said.standing(waiter.keys, time.monotonic()))
            self._leave(waiter)

    def _leave(self, waiter: _Waiter) -> None:
        """Count a waiter no more. Idempotent."""
        if waiter not in self._waiters:
            return
        self._waiters.discard(waiter)
        for key in waiter.keys:
            self._wanted[key] -= 1
            if not self._wanted[key]:
                del self._wanted[key]
                self._said.forget(key)

    def _looked(self, keys: frozenset[str], found: Standing | Exception) -> None:
        if isinstance(found, Exception):
            self._fail([each for each in self._waiters if not keys.isdisjoint(each.unheard)], found)
        else:
            self._hear(keys, found)

    def _watched(self, keys: frozenset[str], found: Standing | Exception) -> None:
        if isinstance(found, Exception):
            self._fail([each for each in self._waiters if not keys.isdisjoint(each.keys)], found)
        else:
            self._hear(keys, found)

    def _hear(self, keys: frozenset[str], found: Standing) -> None:
        keys = keys & self._wanted.keys()
        self._said.note(keys, found, time.monotonic())
        held = self._said.held(keys)
        ended = keys - held
        for waiter in list(self._waiters):
            if waiter.unheard or not ended.isdisjoint(waiter.keys):
                waiter.unheard -= keys
                self._tell(waiter)
        self._watches.want(key for key in held if key in self._wanted)

    def _fail(self, waiters: Iterable[_Waiter], error: Exception) -> None:
        for waiter in waiters:
            if not waiter.told.done():
                waiter.told.set_exception(error)
            self._leave(waiter)
