"""Collecting what nobody needs: planned, printed, and then done in steps that may each be the last.

    a name that nobody uses -> condemned, and served on -> the grace -> dropped
    a blob that nothing names -> condemned, and promised on -> the grace -> promised no more -> deleted

Each step is a transaction that looks again whether what was planned still holds. Whoever names something
holds it until that is written, so nothing goes under a publisher; and bytes outlive the last that named them
by the grace, so whoever was told of them reads them. Several may collect at once, beside any number of
stores; whoever is killed leaves what the next one goes on with.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from itertools import islice
from typing import TypeVar

from msgspec import Struct
from msgspec.structs import replace

from inductory_store.catalog import lifetimes
from inductory_store.catalog.holdings import read_holdings
from inductory_store.catalog.leases import database_time
from inductory_store.catalog.retention import namespaces
from inductory_store.lifetime.holdings import KINDS, Name
from inductory_store.lifetime.plan import Fate, Plan, Rescue, plan
from inductory_store.store import Store

from .sweep import Swept, carry_out_sweep, plan_sweep

AT_ONCE = 500
"""Names that are marked in one transaction: others wait for it."""

Progress = Callable[[str], None]
T = TypeVar("T")


class Collected(Struct, frozen=True):
    """What is to be done, or was done."""

    done: bool
    """Whether it was: else it is a plan."""
    grace_s: float
    names: tuple[Plan, ...]
    """By namespace."""
    blobs: Swept


def time_of(store: Store) -> float:
    """Return the time by a clock that all stores share, in seconds since the epoch."""
    with store.catalog.read() as connection:
        return database_time(connection, store.clock)


def collect(store: Store, now: float, *, dry_run: bool, progress: Progress = lambda text: None) -> Collected:
    """Plan what goes and do it; with `dry_run` only plan, and change nothing.

    A dry run tells of the blobs that nothing names now: those of names that would be dropped come after them.
    Raises StorageFailed and StorageFull; what was done by then is done.
    """
    grace_s = store.settings.gc_grace_s
    names = tuple(_plan_names(store, now, grace_s, progress))
    if not dry_run:
        names = tuple(_carry_out(store, each, now, progress) for each in names)
    blobs = plan_sweep(store, now, grace_s, progress)
    if not dry_run:
        blobs = carry_out_sweep(store, blobs, now, grace_s, progress)
    return Collected(not dry_run, grace_s, names, blobs)


def _plan_names(store: Store, now: float, grace_s: float, progress: Progress) -> Iterator[Plan]:
    with store.catalog.read() as connection:
        found = namespaces(connection)
    for namespace in found:
        progress(f"planning {namespace}")
        with store.catalog.read() as connection:
            holdings = read_holdings(connection, namespace, now)
        yield plan(holdings, now, grace_s)


def _carry_out(store: Store, planned: Plan, now: float, progress: Progress) -> Plan:
    """Do what was planned for a namespace, as far as it still holds, and return what was done."""
    namespace = planned.namespace
    rescued: set[Name] = set()
    condemned: set[Name] = set()
    for kind in KINDS:
        for some in _portions([each.key for each in planned.rescue if each.kind == kind]):
            with store.catalog.write() as connection:
                keys = lifetimes.rescue(connection, kind, namespace, some)
            rescued |= {Name(kind, key) for key in keys}
        for some in _portions([each.key for each in planned.condemn if each.kind == kind]):
            with store.catalog.write() as connection:
                keys = lifetimes.condemn(connection, kind, namespace, some, now)
            condemned |= {Name(kind, key) for key in keys}
    dropped = tuple(_drop(store, namespace, planned.drop, now, progress))
    with store.catalog.read() as connection:
        unnamed = lifetimes.unnamed(connection, namespace)
    for name in unnamed:
        with store.catalog.write() as connection:
            lifetimes.note_unnamed(connection, namespace, name)
    return replace(
        planned,
        rescue=tuple(Rescue(each.kind, each.key) for each in planned.rescue if each.name in rescued),
        condemn=tuple(each for each in planned.condemn if each.name in condemned),
        drop=dropped,
    )


def _drop(
    store: Store, namespace: str, fates: Sequence[Fate], now: float, progress: Progress
) -> Iterator[Fate]:
    for at, fate in enumerate(fates):
        progress(f"{namespace}: dropping {at + 1} of {len(fates)}")
        with store.catalog.write() as connection:
            dropped = lifetimes.drop(connection, namespace, fate.name, fate.condemned_at, now)
        if dropped:
            yield fate


def _portions(items: Sequence[T]) -> Iterator[list[T]]:
    rest = iter(items)
    while portion := list(islice(rest, AT_ONCE)):
        yield portion
