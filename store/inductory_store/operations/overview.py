"""What the first page tells: what there is, and what the last day brought."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from inductory_store.catalog.builds import BuildRow, list_builds
from inductory_store.catalog.events import sums_since
from inductory_store.catalog.repeats import RepeatRow, newest_differing
from inductory_store.catalog.totals import DocumentRow, Totals, documents, totals
from inductory_store.store import Store

HOURS = 24
BUILDS_SHOWN = 12
DISAGREEMENTS_SHOWN = 12


@dataclass(frozen=True)
class Hour:
    """One of the last 24 hours."""

    hits: int
    misses: int


@dataclass(frozen=True)
class Day:
    """What clients reported in the last 24 hours."""

    hits: int
    misses: int
    effective_hits: int
    compiled: int
    waited: int
    """Pieces that somebody else compiled meanwhile."""
    impatient: int
    """Pieces that were compiled though somebody else had their lease."""
    refused: int
    fallbacks: int
    saved_seconds: float
    hours: tuple[Hour, ...]
    """The oldest first."""


@dataclass(frozen=True)
class Overview:
    """All that the first page shows."""

    now: float
    totals: Totals
    day: Day
    builds: tuple[BuildRow, ...]
    documents: tuple[DocumentRow, ...]
    disagreements: tuple[RepeatRow, ...]


def overview(store: Store) -> Overview:
    """Read the overview, over all namespaces, in a constant number of queries."""
    now = store.clock()
    first_minute = int(now // 60) - HOURS * 60 + 1
    with store.catalog.read() as connection:
        builds = list_builds(connection, None, None, BUILDS_SHOWN)
        return Overview(
            now=now,
            totals=totals(connection),
            day=summed(sums_since(connection, first_minute, 60)),
            builds=tuple(builds),
            documents=tuple(documents(connection, [build.key for build in builds])),
            disagreements=tuple(newest_differing(connection, DISAGREEMENTS_SHOWN)),
        )


def summed(sums: Sequence[tuple[int, str, int, float]]) -> Day:
    """Return the day that sums of (hour, kind, count, saved seconds) make."""
    kinds: dict[str, int] = {}
    hourly: dict[tuple[int, str], int] = {}
    for hour, kind, count, _ in sums:
        kinds[kind] = kinds.get(kind, 0) + count
        hourly[min(hour, HOURS - 1), kind] = hourly.get((min(hour, HOURS - 1), kind), 0) + count
    return Day(
        hits=kinds.get("hit", 0),
        misses=kinds.get("miss", 0),
        effective_hits=kinds.get("load", 0),
        compiled=kinds.get("compile", 0),
        waited=kinds.get("waited", 0),
        impatient=kinds.get("impatient", 0),
        refused=kinds.get("refused", 0),
        fallbacks=kinds.get("fallback", 0),
        saved_seconds=sum(saved for _, _, _, saved in sums),
        hours=tuple(Hour(hourly.get((at, "hit"), 0), hourly.get((at, "miss"), 0)) for at in range(HOURS)),
    )
