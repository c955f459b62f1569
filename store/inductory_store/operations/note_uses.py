"""Noting uses in the catalog: in batches, once a minute, beside the answers."""

from __future__ import annotations

import asyncio
import logging
from collections import defaultdict
from collections.abc import Callable

from anyio import to_thread
from inductory_client.contract.errors import InductoryError

from inductory_store.catalog.leases import database_time
from inductory_store.catalog.lifetimes import note_used
from inductory_store.store import Store
from inductory_store.uses import Use

NOTE_EVERY_S = 60.0

_log = logging.getLogger(__name__)


Tell = Callable[[set[Use]], None]
"""Tells somebody else what was used here. Raises InductoryError."""


def note_uses(store: Store, tell: Tell | None = None) -> int:
    """Write down what was used since the last time, `tell` of it, and return how many rows were written.

    Few are: where another process wrote one within six hours nothing is. What was condemned is rescued.
    Raises StorageFailed, and what `tell` raises; what wasn't noted or told then is, when it is used again.
    """
    taken = store.uses.take()
    together: defaultdict[tuple[str, str], list[str]] = defaultdict(list)
    for use in taken:
        together[use.kind, use.namespace].append(use.key)
    written = 0
    try:
        for (kind, namespace), keys in sorted(together.items()):
            # A transaction each: whoever publishes a build takes its rows in another order.
            with store.catalog.write() as connection:
                now = database_time(connection, store.clock)
                written += note_used(connection, kind, namespace, keys, now)  # type: ignore[arg-type]
        if tell is not None and taken:
            tell(taken)
    except InductoryError:
        store.uses.forget(taken)
        raise
    return written


async def keep_noting(store: Store, tell: Tell | None = None) -> None:
    """Note uses once a minute until cancelled, and then once more."""
    try:
        while True:
            await asyncio.sleep(NOTE_EVERY_S)
            await to_thread.run_sync(_note, store, tell)
    finally:
        _note(store, None)  # the process is to end, and waits for nobody else


def _note(store: Store, tell: Tell | None) -> None:
    try:
        note_uses(store, tell)
    except InductoryError as error:
        _log.warning("what was used isn't noted for now: %s", error)
