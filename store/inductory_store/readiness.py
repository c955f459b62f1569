"""Saying whether the store can do its work."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable
from functools import partial

from anyio import CapacityLimiter, to_thread
from inductory_client.contract.errors import InductoryError
from inductory_client.contract.wire import Status

from .catalog.migrate import is_current
from .store import Store
from .version import __version__

_log = logging.getLogger(__name__)

ANSWER_S = 3.0
"""Longest wait for a check: whoever asks `/readyz` gives up after five (`deploy/store.yaml`)."""


class Readiness:
    """Tries what a store needs, each part on a thread of its own; lives in the event loop.

    A database or bucket that hangs keeps that one thread, however often readiness is asked for, and what is
    asked while a part is being tried waits for that. All other threads may hang meanwhile.
    """

    def __init__(self, store: Store) -> None:
        self._parts: dict[str, Callable[[], None]] = {
            "database": partial(_check_database, store),
            "blobs": store.blobs.check,
        }
        self._upstream = store.upstream
        self._threads = CapacityLimiter(len(self._parts) + 1)
        self._under_way: dict[str, asyncio.Task[str]] = {}

    async def status(self) -> Status:
        """Return how the database and the place for blobs are, and upstream, if there is one."""
        looks = {name: self._look(name, partial(_checked, check)) for name, check in self._parts.items()}
        if self._upstream is not None:
            looks["upstream"] = self._look("upstream", self._upstream.state)
        await asyncio.wait(looks.values(), timeout=ANSWER_S)
        checks = {
            name: look.result() if look.done() else f"it hasn't answered for {ANSWER_S:.0f} s"
            for name, look in looks.items()
        }
        # A store that pulls serves what it has while upstream is away: that makes it no less ready.
        healthy = all(checks[name] == "ok" for name in self._parts)
        return Status(status="ok" if healthy else "unready", version=__version__, checks=checks)

    def _look(self, name: str, check: Callable[[], str]) -> asyncio.Task[str]:
        look = self._under_way.get(name)
        if look is None or look.done():
            trying = to_thread.run_sync(check, limiter=self._threads, abandon_on_cancel=True)
            look = self._under_way[name] = asyncio.create_task(trying)
        return look


def _check_database(store: Store) -> None:
    with store.catalog.read() as connection:
        if not is_current(connection):
            raise InductoryError("its schema is older than this store's; start one `inductory serve`")


def _checked(check: Callable[[], None]) -> str:
    try:
        check()
    except InductoryError as error:
        return error.message
    except Exception:
        _log.exception("a check failed")
        return "the check failed; the store's log has more"
    return "ok"
