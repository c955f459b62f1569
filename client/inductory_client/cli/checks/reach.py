"""Is the store there, quick enough, and of one mind with us about the time?"""

from __future__ import annotations

import time
from collections.abc import Iterator

from inductory_client.contract.errors import InductoryError
from inductory_client.contract.wire import Status
from inductory_client.deadline import Deadline
from inductory_client.settings import Settings
from inductory_client.transport import HttpStore
from inductory_client.version import __version__

from .check import Check

PATIENCE_S = 10.0
"""How long the check itself waits."""
EARLIEST = 1_735_689_600.0
"""2025-01-01: a clock that says less was never set."""
QUICK_SHARE = 0.25
"""A start makes a few calls; one may take this share of the store deadline."""


def check_clock(now: float) -> Check:
    """Look whether the clock was set; events and TLS certificates depend on it."""
    if now < EARLIEST:
        return Check("clock", "fail", "This machine's clock was never set.", "Set it, by NTP for one.")
    return Check("clock", "ok", time.strftime("It is %Y-%m-%d %H:%M UTC here.", time.gmtime(now)))


def check_store(settings: Settings) -> Iterator[Check]:
    """Ask the store whether it is ready, and measure how long that takes."""
    if settings.url is None:
        what = "No store is set: pieces are compiled here and kept in the local cache only."
        yield Check(
            "store",
            "warn",
            what,
            "Set INDUCTORY_URL, to http://127.0.0.1:8765 for `inductory serve` on this host.",
        )
        return
    store = HttpStore(settings.url, settings.namespace)
    begun = time.monotonic()
    try:
        status = store.ready(Deadline(PATIENCE_S))
    except InductoryError as error:
        yield Check(
            "store", "fail", f"{settings.url}: {error.message}", "Start it, or correct INDUCTORY_URL."
        )
        return
    finally:
        store.close()
    yield _quick(settings, time.monotonic() - begun)
    yield _ready(status)


def _quick(settings: Settings, seconds: float) -> Check:
    allowed = settings.store_deadline_s
    what = f"{settings.url} answers within {seconds * 1000:.0f} ms; a start may lose {allowed:g} s to it."
    if seconds > allowed * QUICK_SHARE:
        return Check("store", "warn", what, "Raise INDUCTORY_STORE_DEADLINE_S, or bring the store nearer.")
    return Check("store", "ok", what)


def _ready(status: Status) -> Check:
    wrong = [f"{part}: {state}" for part, state in sorted(status.checks.items()) if state != "ok"]
    if status.status != "ok":
        what = f"Not ready: {'; '.join(wrong) or 'it does not say why'}."
        return Check("store's parts", "fail", what, "See the store's log.")
    if _minor(status.version) != _minor(__version__):
        what = f"The store runs {status.version}, this client {__version__}."
        todo = "They speak the same protocol; bring them together when you can."
        return Check("store's parts", "warn", what, todo)
    if wrong:
        what = f"Ready, but not all of it: {'; '.join(wrong)}."
        return Check("store's parts", "warn", what, "What is there is served. See the store's log.")
    return Check("store's parts", "ok", f"Version {status.version}, {len(status.checks)} parts, all ready.")


def _minor(version: str) -> list[str]:
    return version.split(".")[:2]
