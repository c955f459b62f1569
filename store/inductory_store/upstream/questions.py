"""Questions about keys: each key is in one at a time, and as many keys as may be go together."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Iterable

from anyio import CapacityLimiter, to_thread
from inductory_client.contract.lease import LEASES_MAX, Standing


class Questions:
    """Questions of one kind, in the event loop of one process; `turns` bounds how many there are at a time.

    Keys are chosen when a turn comes, so that all that came up meanwhile go along.
    """

    def __init__(
        self,
        turns: CapacityLimiter,
        ask: Callable[[frozenset[str]], Standing],
        still_wanted: Callable[[str], bool],
        tell: Callable[[frozenset[str], Standing | Exception], None],
    ) -> None:
        """`ask` is given LEASES_MAX keys at most, in a worker thread; `tell` what came of it, in the loop."""
        self._turns = turns
        self._threads = CapacityLimiter(turns.total_tokens)  # who has a turn has a thread
        self._still_wanted = still_wanted
        self._ask = ask
        self._tell = tell
        self._pending: dict[str, None] = {}
        self._asked: set[str] = set()
        self._tasks: set[asyncio.Task[None]] = set()
        self._queued = 0
        """Tasks whose turn hasn't come."""

    @property
    def busy(self) -> bool:
        return bool(self._tasks)

    def want(self, keys: Iterable[str]) -> None:
        """Have those keys asked about that aren't in a question under way."""
        self._pending.update((key, None) for key in keys if key not in self._asked)
        while self._queued * LEASES_MAX < len(self._pending):
            self._queued += 1
            task = asyncio.create_task(self._take_turn())
            self._tasks.add(task)
            task.add_done_callback(self._tasks.discard)

    async def _take_turn(self) -> None:
        found: Standing | Exception
        async with self._turns:
            self._queued -= 1
            keys = self._chosen()
            if not keys:
                return
            self._asked |= keys
            try:
                found = await to_thread.run_sync(self._ask, keys, limiter=self._threads)
            except Exception as error:
                found = error  # whatever it is, somebody waits to be told
            finally:
                self._asked -= keys
        self._tell(keys, found)

    def _chosen(self) -> frozenset[str]:
        """Take the first keys that are still wanted; nobody need ask about the others."""
        keys: list[str] = []
        for key in list(self._pending):
            if len(keys) == LEASES_MAX:
                break
            del self._pending[key]
            if self._still_wanted(key):
                keys.append(key)
        return frozenset(keys)
