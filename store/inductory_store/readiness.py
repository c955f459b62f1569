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

ANSWER_S = 3.0
"""Longest wait for a check: whoever asks `/readyz` gives up after five (`deploy/store.yaml`)."""
_UPSTREAM = "upstream"

_log = logging.getLogger(__name__)


class Readiness:
    """Tries what a store needs, each part on a thread of its own; lives in the event loop.

    A database or bucket that hangs keeps that one thread, however often readiness is asked for, and what is
    asked while a part is being tried waits for that. All other threads may hang meanwhile.
    """

    def __init__(self, store: Store) -> None:
        self._checks: dict[str, Callable[[], str | None]] = {
            "database": partial(_check_database, store),
            "blobs": store.blobs.check,
        }
        if store.upstream is not None:
            self._checks[_UPSTREAM] = store.upstream.state
        self._threads = CapacityLimiter(len(self._checks))
        self._under_way: dict[str, asyncio.Task[str]] = {}

    async def status(self) -> Status:
        """Return how the database and the place for blobs are, and upstream, if there is one."""
        looks = {name: self._look(name) for name in self._checks}
        await asyncio.wait(looks.values(), timeout=ANSWER_S)
        checks = {
            name: look.result() if look.done() else f"it hasn't answered for {ANSWER_S:.0f} s"
            for name, look in looks.items()
        }
        # A store that pulls serves what it has while upstream is away: that makes it no less ready.
        healthy = all(told == "ok" for name, told in checks.items() if name != _UPSTREAM)
        return Status(status="ok" if healthy else "unready", version=__version__, checks=checks)

    def _look(self, name: str) -> asyncio.Task[str]:
        look = self._under_way.get(name)
        if look is None or look.done():
            check = partial(_checked, self._checks[name])
            trying = to_thread.run_sync(check, limiter=self._threads, abandon_on_cancel=True)
            look = self._under_way[name] = asyncio.create_task(trying)
        return look


def _check_database(store: Store) -> None:
    with store.catalog.read() as connection:
        if not is_current(connection):
            raise InductoryError("its schema is older than this store's; start one `inductory serve`")


def _checked(check: Callable[[], str | None]) -> str:
    """Return what a check says, `ok` where it says nothing, and in words what it raises."""
    try:
        return check() or "ok"
    except InductoryError as error:
        return error.message
    except Exception:
        _log.exception("a check failed")
        return "the check failed; the store's log has more"
