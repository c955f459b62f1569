"""Roots: what is never deleted, with all that it names."""

from __future__ import annotations

from dataclasses import replace

from inductory_client.contract.errors import NotFound
from inductory_client.contract.lifetime import Kind, Root, RootPage, RootStored, RootWanted

from inductory_store.catalog import roots as rows
from inductory_store.catalog.leases import database_time
from inductory_store.catalog.lifetimes import hold_names, note_used
from inductory_store.catalog.roots import RootPlace, RootRow
from inductory_store.lifetime.holdings import Name
from inductory_store.store import Store

from .cursor import cursor_at, place_of
from .instants import instant_text


def add_root(store: Store, namespace: str, kind: Kind, key: str, wanted: RootWanted) -> RootStored:
    """Keep a build, a manifest or an artifact, with all that it names.

    Idempotent: a root that is there has this label and expiry from now on. What awaits deletion is rescued.
    Raises NotFound where there is nothing by that name.
    """
    with store.catalog.write() as connection:
        # Nobody drops it before the root is there.
        if not hold_names(connection, kind, namespace, [key]):
            raise NotFound(f"there is no {kind} {key} in {namespace}")
        now = database_time(connection, store.clock)
        expires_at = None if wanted.expires_in_s is None else now + wanted.expires_in_s
        row = RootRow(namespace, kind, key, wanted.label, now, expires_at)
        created_at = rows.add_root(connection, row)
        note_used(connection, kind, namespace, [key], now)
    root = _root(replace(row, created_at=created_at), now)
    return RootStored(root=root, created=created_at == now)


def remove_root(store: Store, namespace: str, kind: Kind, key: str) -> Root:
    """Keep something no longer for this root's sake, and return what the root was. Raises NotFound."""
    with store.catalog.write() as connection:
        now = database_time(connection, store.clock)
        row = rows.forget_root(connection, namespace, Name(kind, key))
    if row is None:
        raise NotFound(f"there is no root {kind} {key} in {namespace}")
    return _root(row, now)


def list_roots(store: Store, namespace: str, cursor: str | None, limit: int) -> RootPage:
    """Return a page of a namespace's roots, by kind and key."""
    after = place_of(cursor, RootPlace, ("roots", namespace))
    with store.catalog.read() as connection:
        now = database_time(connection, store.clock)
        found = rows.list_roots(connection, namespace, after, limit + 1)
    page = found[:limit]
    more = len(found) > limit
    return RootPage(
        roots=tuple(_root(row, now) for row in page),
        next=cursor_at(RootPlace(page[-1].kind, page[-1].key), ("roots", namespace)) if more else None,
    )


def _root(row: RootRow, now: float) -> Root:
    return Root(
        namespace=row.namespace,
        kind=row.kind,
        key=row.key,
        label=row.label,
        created_at=instant_text(row.created_at),
        expires_at=None if row.expires_at is None else instant_text(row.expires_at),
        expired=row.expires_at is not None and row.expires_at <= now,
    )
