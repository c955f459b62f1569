"""Saying whether the store can do its work."""

from __future__ import annotations

from collections.abc import Callable

from inductory_client.contract.errors import InductoryError
from inductory_client.contract.wire import Status

from inductory_store.catalog.migrate import is_current
from inductory_store.store import Store
from inductory_store.version import __version__


def check_health(store: Store) -> Status:
    """Try the database and the place for blobs, and say whether upstream answers, if there is one."""
    checks = {"database": _checked(lambda: _check_database(store)), "blobs": _checked(store.blobs.check)}
    healthy = all(text == "ok" for text in checks.values())
    if store.upstream is not None:
        # A store that pulls serves what it has while upstream is away: that makes it no less ready.
        checks["upstream"] = store.upstream.state()
    return Status(status="ok" if healthy else "unready", version=__version__, checks=checks)


def _check_database(store: Store) -> None:
    with store.catalog.read() as connection:
        if not is_current(connection):
            raise InductoryError("its schema is older than this store's; start one `inductory serve`")


def _checked(check: Callable[[], None]) -> str:
    try:
        check()
    except InductoryError as error:
        return error.message
    return "ok"
