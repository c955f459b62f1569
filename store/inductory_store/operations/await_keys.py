"""Waiting for what others compile: one look at the catalog for all who wait in this process."""

from __future__ import annotations

import asyncio
import logging

import anyio
from anyio import to_thread
from inductory_client.contract.errors import InductoryError
from inductory_client.contract.lease import KeysAwaited, Standing

from inductory_store.store import Store

from .lease_keys import held, standing

LOOK_EVERY_S = 0.1
"""How often the catalog is looked at while anybody waits, by each process of the store."""

_log = logging.getLogger(__name__)


class _Waiter:
    def __init__(self, namespace: str, keys: frozenset[str]) -> None:
        self.namespace = namespace
        self.keys = keys
        self.woken = anyio.Event()


class Waiting:
    """Those who wait, in the event loop of one process; nothing of it is for other threads.

    However many they are, they cost a look a namespace every tenth of a second, and none while nobody waits.
    """

    def __init__(self, store: Store) -> None:
        self._store = store
        self._waiters: set[_Waiter] = set()
        self._looking: asyncio.Task[None] | None = None
        self._closed = False

    async def standing(self, namespace: str, asked: KeysAwaited) -> Standing:
        """Return how keys stand, as soon as one of them isn't held any more, or after `wait_s`."""
        found = await to_thread.run_sync(standing, self._store, namespace, asked)
        all_held = frozenset(each.key for each in found.held)
        if self._closed or asked.wait_s == 0 or not all_held or all_held != frozenset(asked.keys):
            return found
        waiter = _Waiter(namespace, all_held)
        self._waiters.add(waiter)
        if self._looking is None:
            self._looking = asyncio.create_task(self._look_on())
        try:
            with anyio.move_on_after(asked.wait_s):
                await waiter.woken.wait()
        finally:
            self._waiters.discard(waiter)
        return await to_thread.run_sync(standing, self._store, namespace, asked)

    def close(self) -> None:
        """Let everybody go who waits, and nobody wait any more: the process is to end."""
        self._closed = True
        for waiter in self._waiters:
            waiter.woken.set()

    async def _look_on(self) -> None:
        """Look until nobody waits."""
        try:
            while self._waiters:
                await self._look()
                await asyncio.sleep(LOOK_EVERY_S)
        finally:
            self._looking = None

    async def _look(self) -> None:
        """Wake those of whose keys one isn't held any more."""
        by_namespace: dict[str, set[str]] = {}
        waiters = list(self._waiters)
        for waiter in waiters:
            by_namespace.setdefault(waiter.namespace, set()).update(waiter.keys)
        for namespace, keys in by_namespace.items():
            try:
                still = await to_thread.run_sync(held, self._store, namespace, keys)
            except InductoryError as error:
                _log.warning("who waits is told nothing for now: %s", error)
                continue
            for waiter in waiters:
                if waiter.namespace == namespace and not waiter.keys <= still:
                    waiter.woken.set()
