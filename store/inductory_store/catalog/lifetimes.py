"""When builds, manifests and artifacts were last used, which await deletion, and dropping them."""

from __future__ import annotations

from collections.abc import Collection, Sequence
from typing import Any

from inductory_client.contract.lifetime import Kind
from sqlalchemy import ColumnElement, Connection, Table, delete, func, or_, select, update

from inductory_store.lifetime.holdings import Name

from .batches import among
from .order import in_order
from .roots import forget_root, is_root
from .tables import (
    artifact,
    artifact_blob,
    build,
    build_entry,
    manifest,
    manifest_blob,
    manifest_entry,
    repeat,
)

USE_EVERY_S = 6 * 3600.0
"""A use is written where the one before it is older. So what is known of a last use may be this old."""

TABLES: dict[Kind, Table] = {"build": build, "manifest": manifest, "artifact": artifact}
_PARTS: dict[Kind, tuple[ColumnElement[Any], ...]] = {
    "build": (build_entry.c.build,),
    "manifest": (manifest_entry.c.manifest, manifest_blob.c.manifest),
    "artifact": (artifact_blob.c.artifact, repeat.c.artifact),
}
"""What goes with a row, by the column that names it."""
_NAMED_BY: dict[Kind, tuple[ColumnElement[Any], ...]] = {
    "build": (),
    "manifest": (build_entry.c.manifest,),
    "artifact": (manifest_entry.c.artifact, build_entry.c.dispatch),
}
"""Where others name a row."""


def key_of(table: Table) -> ColumnElement[Any]:
    """Return the column that names a row within its namespace."""
    column: ColumnElement[Any] = table.c.id if table is manifest else table.c.key
    return column


def used_at(table: Table) -> ColumnElement[float]:
    """Return when a row was last used: published, if nothing else is known."""
    return func.coalesce(table.c.used_at, table.c.created_at)


def note_used(connection: Connection, kind: Kind, namespace: str, keys: Collection[str], now: float) -> int:
    """Note that rows are used, and rescue those that await deletion; return how many rows were written."""
    table = TABLES[kind]
    of_namespace, key = table.c.namespace == namespace, key_of(table)
    long_ago = or_(used_at(table) < now - USE_EVERY_S, table.c.condemned_at.is_not(None))
    written = 0
    for portion in among(key, keys):
        rows = in_order(key, where=of_namespace & portion & long_ago)
        statement = update(table).where(of_namespace, key.in_(rows)).values(used_at=now, condemned_at=None)
        written += len(connection.scalars(statement.returning(key)).all())
    return written


def hold_names(
    connection: Connection, kind: Kind, namespace: str, keys: Collection[str], backend: str | None = None
) -> set[str]:
    """Return those of `keys` that are there, whole or not, and let nobody drop them until the end of the
    transaction: they are to be named. Artifacts of one backend, if that is told.
    """
    table = TABLES[kind]
    query = select(key_of(table)).where(table.c.namespace == namespace).order_by(key_of(table))
    if backend is not None:
        query = query.where(artifact.c.backend == backend)
    query = query.with_for_update(read=True, key_share=True)
    portions = among(key_of(table), keys)
    return {key for portion in portions for key in connection.scalars(query.where(portion))}


def condemn(
    connection: Connection, kind: Kind, namespace: str, keys: Collection[str], now: float
) -> set[str]:
    """Let rows await deletion from now on, and return the keys of those that didn't. They are served on."""
    return _mark(connection, kind, namespace, keys, now)


def rescue(connection: Connection, kind: Kind, namespace: str, keys: Collection[str]) -> set[str]:
    """Let rows await deletion no longer, and return the keys of those that did."""
    return _mark(connection, kind, namespace, keys, None)


def _mark(
    connection: Connection, kind: Kind, namespace: str, keys: Collection[str], at: float | None
) -> set[str]:
    table = TABLES[kind]
    of_namespace, key = table.c.namespace == namespace, key_of(table)
    other = table.c.condemned_at.is_(None) if at is not None else table.c.condemned_at.is_not(None)
    marked: set[str] = set()
    for portion in among(key, keys):
        rows = in_order(key, where=of_namespace & portion & other)
        statement = update(table).where(of_namespace, key.in_(rows)).values(condemned_at=at)
        marked.update(connection.scalars(statement.returning(key)))
    return marked


def drop(connection: Connection, namespace: str, name: Name, condemned_at: float | None, now: float) -> bool:
    """Delete a row that still awaits deletion, since the same moment, and say whether it did.

    Not one that a root keeps, or that others name. Whoever is about to name it holds it (`hold_names`), or
    finds it gone.
    """
    table, key = TABLES[name.kind], key_of(TABLES[name.kind])
    of_row = (table.c.namespace == namespace, key == name.key)
    condemned = table.c.condemned_at.is_not(None) & (table.c.condemned_at == condemned_at)
    # Against all others, those included who would only refer to it. What is decided by is read after this.
    if connection.scalar(select(key).where(*of_row, condemned).with_for_update()) is None:
        return False
    if is_root(connection, namespace, name, now) or _is_named(connection, namespace, name):
        return False
    for column in _PARTS[name.kind]:
        parts = column.table
        connection.execute(delete(parts).where(parts.c.namespace == namespace, column == name.key))
    forget_root(connection, namespace, name)
    connection.execute(delete(table).where(*of_row))
    return True


def _is_named(connection: Connection, namespace: str, name: Name) -> bool:
    return any(
        connection.scalar(
            select(column).where(column.table.c.namespace == namespace, column == name.key).limit(1)
        )
        is not None
        for column in _NAMED_BY[name.kind]
    )


def unnamed(connection: Connection, namespace: str) -> list[Name]:
    """Return what the lookup believes to be named, and nothing names: it was, by what was dropped."""
    found: list[Name] = []
    for kind, flag in _FLAGS.items():
        table = TABLES[kind]
        query = select(key_of(table)).where(table.c.namespace == namespace, flag, *_names_nothing(kind))
        found += [Name(kind, key) for key in connection.scalars(query.order_by(key_of(table)))]
    return found


def note_unnamed(connection: Connection, namespace: str, name: Name) -> bool:
    """Have the lookup know that nothing names a row, unless something does by now."""
    table, key = TABLES[name.kind], key_of(TABLES[name.kind])
    of_row = (table.c.namespace == namespace, key == name.key)
    # Also against those who refer to it just now, and would find the flag as they want it.
    if connection.scalar(select(key).where(*of_row).with_for_update()) is None:
        return False
    if _is_named(connection, namespace, name):
        return False
    connection.execute(update(table).where(*of_row).values({_FLAGS[name.kind]: False}))
    return True


_FLAGS: dict[Kind, ColumnElement[bool]] = {"manifest": manifest.c.built, "artifact": artifact.c.used}


def _names_nothing(kind: Kind) -> Sequence[ColumnElement[bool]]:
    table = TABLES[kind]
    return [
        ~select(column).where(column.table.c.namespace == table.c.namespace, column == key_of(table)).exists()
        for column in _NAMED_BY[kind]
    ]
