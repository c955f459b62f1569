"""Rows of `build` and `build_entry`."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Annotated, NamedTuple

from inductory_client.contract import wire
from inductory_client.contract.build import Build, BuildEntry
from inductory_client.contract.digest import Digest
from msgspec import Meta
from msgspec.structs import replace
from sqlalchemy import Connection, func, select, tuple_, update

from .artifacts import mark_used
from .insert import insert_all, insert_first
from .order import in_order
from .tables import build, build_entry, manifest, manifest_entry
from .targets import add_target


class BuildPlace(NamedTuple):
    """Where a build stands in the listing. Bounded, for a cursor may come from anybody."""

    created_at: Annotated[float, Meta(ge=0, le=1e12)]
    key: Digest


@dataclass(frozen=True)
class BuildRow:
    """A build in a listing."""

    key: str
    namespace: str
    component: str
    model: str
    target: str
    created_at: float
    entries: int = 0
    graphs: int = 0
    artifacts: int = 0
    dispatches: int = 0


def read_build(connection: Connection, namespace: str, key: str, *, lock: bool = False) -> Build | None:
    """Return a build with its entries in order; `lock` keeps other writers from it for this transaction."""
    query = select(build.c.record).where(build.c.namespace == namespace, build.c.key == key)
    record = connection.scalar(query.with_for_update() if lock else query)
    if record is None:
        return None
    rows = connection.scalars(
        select(build_entry.c.record)
        .where(build_entry.c.namespace == namespace, build_entry.c.build == key)
        .order_by(build_entry.c.position)
    )
    entries = tuple(wire.decode(row, BuildEntry) for row in rows)
    return replace(wire.decode(record, Build), entries=entries)


def add_build(connection: Connection, value: Build, now: float) -> bool:
    """Keep a build without its entries, and say whether it is new."""
    return insert_first(
        connection,
        build,
        {
            "namespace": value.namespace,
            "key": value.key,
            "component": value.component,
            "model": value.model,
            "sources": value.sources,
            "config": value.config,
            "target": add_target(connection, value.target, now),
            "created_at": now,
            "record": wire.encode(replace(value, entries=())),
        },
    )


def name_model(connection: Connection, value: Build, model: str) -> None:
    """Give a build that has none a label."""
    of_build = (build.c.namespace == value.namespace, build.c.key == value.key)
    record = wire.encode(replace(value, model=model, entries=()))
    connection.execute(update(build).where(*of_build).values(model=model, record=record))


def add_entries(connection: Connection, value: Build, entries: tuple[BuildEntry, ...], first: int) -> None:
    """Add entries that the build doesn't have, from position `first` on."""
    rows = [
        {
            "namespace": value.namespace,
            "build": value.key,
            "name": entry.name,
            "manifest": entry.manifest,
            "position": position,
            "dispatch": entry.dispatch,
            "record": wire.encode(entry),
        }
        for position, entry in enumerate(entries, first)
    ]
    insert_all(connection, build_entry, rows)
    of_build = (build_entry.c.namespace == value.namespace, build_entry.c.build == value.key)
    named = select(build_entry.c.manifest).where(*of_build)
    mark_used(connection, value.namespace, select(build_entry.c.dispatch).where(*of_build))
    of_namespace = manifest.c.namespace == value.namespace
    unbuilt = in_order(manifest.c.id, where=of_namespace & ~manifest.c.built & manifest.c.id.in_(named))
    connection.execute(update(manifest).where(of_namespace, manifest.c.id.in_(unbuilt)).values(built=True))


def list_builds(
    connection: Connection, namespace: str | None, after: BuildPlace | None, limit: int
) -> list[BuildRow]:
    """Return builds of a namespace, or of all, newest first, from the one after `after` on; two queries."""
    query = select(build) if namespace is None else select(build).where(build.c.namespace == namespace)
    if after is not None:
        query = query.where(tuple_(build.c.created_at, build.c.key) < tuple_(*after))
    rows = connection.execute(
        query.order_by(build.c.created_at.desc(), build.c.key.desc()).limit(limit)
    ).all()
    counts = _counts(connection, [row.key for row in rows])
    return [
        BuildRow(
            row.key,
            row.namespace,
            row.component,
            row.model,
            row.target,
            row.created_at,
            *counts.get((row.namespace, row.key), (0, 0, 0, 0)),
        )
        for row in rows
    ]


def _counts(connection: Connection, keys: list[str]) -> dict[tuple[str, str], tuple[int, int, int, int]]:
    """Return how many entries builds have, and how many different graphs, pieces and dispatches."""
    of_manifest = (manifest_entry.c.namespace == build_entry.c.namespace) & (
        manifest_entry.c.manifest == build_entry.c.manifest
    )
    query = (
        select(
            build_entry.c.namespace,
            build_entry.c.build,
            func.count(build_entry.c.position.distinct()),
            func.count(build_entry.c.manifest.distinct()),
            func.count(manifest_entry.c.artifact.distinct()),
            func.count(build_entry.c.dispatch.distinct()),
        )
        .outerjoin(manifest_entry, of_manifest)
        .where(build_entry.c.build.in_(keys))
        .group_by(build_entry.c.namespace, build_entry.c.build)
    )
    return {(row[0], row[1]): (row[2], row[3], row[4], row[5]) for row in connection.execute(query)}
