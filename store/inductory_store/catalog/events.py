"""Rows of `event_minute`."""

from __future__ import annotations

from collections.abc import Collection, Sequence
from dataclasses import asdict, dataclass

from sqlalchemy import Connection, delete, func, select, tuple_

from .insert import insert_or_add
from .order import free_ones
from .tables import artifact, event_minute


@dataclass(frozen=True)
class Minute:
    """What was reported in one minute since the epoch, of one kind."""

    namespace: str
    minute: int
    kind: str
    count: int
    seconds: float
    saved_seconds: float


def compile_seconds(connection: Connection, namespace: str, keys: Collection[str]) -> dict[str, float]:
    """Return what artifacts took to compile, by key, where it is known."""
    rows = connection.execute(
        select(artifact.c.key, artifact.c.compile_seconds)
        .where(artifact.c.namespace == namespace, artifact.c.key.in_(sorted(set(keys))))
        .where(artifact.c.compile_seconds.is_not(None))
    )
    return {row.key: row.compile_seconds for row in rows}


def add_minutes(connection: Connection, minutes: Sequence[Minute]) -> None:
    """Add to the sums of these minutes."""
    # In the order of their keys, as in `order.py`: another store may add to the same minutes.
    rows = [asdict(minute) for minute in sorted(minutes, key=lambda each: (each.minute, each.kind))]
    insert_or_add(connection, event_minute, rows, ("count", "seconds", "saved_seconds"))


def forget_before(connection: Connection, minute: int) -> None:
    """Remove the minutes before `minute`; those that another store is at work on go another time."""
    key = tuple(event_minute.primary_key)
    old = free_ones(*key, where=event_minute.c.minute < minute)
    connection.execute(delete(event_minute).where(tuple_(*key).in_(old)))


def sums_since(connection: Connection, minute: int, step: int) -> list[tuple[int, str, int, float]]:
    """Return (steps since `minute`, kind, count, saved seconds), summed over steps of so many minutes."""
    # Grouped by its label: PostgreSQL takes two expressions with parameters for two different ones.
    steps = ((event_minute.c.minute - minute) // step).label("steps")
    rows = connection.execute(
        select(
            steps,
            event_minute.c.kind,
            func.sum(event_minute.c.count),
            func.sum(event_minute.c.saved_seconds),
        )
        .where(event_minute.c.minute >= minute)
        .group_by("steps", event_minute.c.kind)
    )
    return [(int(at), kind, int(count), float(saved)) for at, kind, count, saved in rows]
