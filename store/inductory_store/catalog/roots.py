"""Rows of `root`."""

from __future__ import annotations

from dataclasses import asdict, dataclass, fields
from typing import Annotated, NamedTuple

from inductory_client.contract.digest import Digest
from inductory_client.contract.lifetime import Kind
from msgspec import Meta
from sqlalchemy import ColumnElement, Connection, delete, or_, select, tuple_, update

from inductory_store.lifetime.holdings import Name

from .insert import insert_first
from .tables import root


class RootPlace(NamedTuple):
    """Where a root stands in the listing."""

    kind: Annotated[str, Meta(max_length=16)]
    key: Digest


@dataclass(frozen=True)
class RootRow:
    """What is kept, why, and until when; None for ever."""

    namespace: str
    kind: Kind
    key: str
    label: str
    created_at: float
    expires_at: float | None


_COLUMNS = tuple(root.c[field.name] for field in fields(RootRow))


def add_root(connection: Connection, row: RootRow) -> float:
    """Keep a root, or give the one that is there another label and expiry; return since when it is there."""
    if insert_first(connection, root, asdict(row)):
        return row.created_at
    of_row = _of(row.namespace, Name(row.kind, row.key))
    statement = update(root).where(*of_row).values(label=row.label, expires_at=row.expires_at)
    created_at = connection.scalar(statement.returning(root.c.created_at))
    return row.created_at if created_at is None else created_at


def forget_root(connection: Connection, namespace: str, name: Name) -> RootRow | None:
    """Remove a root, and return what it was."""
    row = connection.execute(delete(root).where(*_of(namespace, name)).returning(*_COLUMNS)).first()
    return None if row is None else RootRow(*row)


def is_root(connection: Connection, namespace: str, name: Name, now: float) -> bool:
    """Whether a root of that name keeps something."""
    query = select(root.c.key).where(*_of(namespace, name), _alive(now))
    return connection.scalar(query) is not None


def live_roots(connection: Connection, namespace: str, now: float) -> frozenset[Name]:
    """Return the names of a namespace's roots that keep something."""
    query = select(root.c.kind, root.c.key).where(root.c.namespace == namespace, _alive(now))
    return frozenset(Name(row.kind, row.key) for row in connection.execute(query))


def list_roots(connection: Connection, namespace: str, after: RootPlace | None, limit: int) -> list[RootRow]:
    """Return a namespace's roots in order, expired ones too, from the one after `after` on."""
    query = select(*_COLUMNS).where(root.c.namespace == namespace)
    if after is not None:
        query = query.where(tuple_(root.c.kind, root.c.key) > tuple_(*after))
    rows = connection.execute(query.order_by(root.c.kind, root.c.key).limit(limit))
    return [RootRow(*row) for row in rows]


def _alive(now: float) -> ColumnElement[bool]:
    return or_(root.c.expires_at.is_(None), root.c.expires_at > now)


def _of(namespace: str, name: Name) -> tuple[ColumnElement[bool], ...]:
    return (root.c.namespace == namespace, root.c.kind == name.kind, root.c.key == name.key)
