"""The REST lookup."""

from __future__ import annotations

from typing import Any

from inductory_client.contract.shape import parse_shape
from inductory_client.contract.wire import LookupEntry, LookupPage
from sqlalchemy import Row

from inductory_store.catalog.lookup import Filters, Place, look_up
from inductory_store.store import Store

from .cursor import cursor_at, place_of


def lookup(store: Store, filters: Filters, cursor: str | None, limit: int) -> LookupPage:
    """Return a page of artifacts and of who uses them.

    Pages are stable: what is published while somebody turns them moves no row from one page to another.
    """
    after = place_of(cursor, Place, filters)
    with store.catalog.read() as connection:
        found = look_up(connection, filters, after, limit + 1)
    page = found[:limit]
    more = len(found) > limit
    return LookupPage(
        entries=tuple(_entry(row) for _, row in page),
        next=cursor_at(page[-1][0], filters) if more else None,
    )


def _entry(row: Row[Any]) -> LookupEntry:
    return LookupEntry(
        artifact=row.artifact,
        scheme=row.scheme,
        scheme_key=row.scheme_key,
        shape=parse_shape(row.shape),
        submodule_index=None if row.submodule_index < 0 else row.submodule_index,
        backend=row.backend,
        manifest=row.manifest or None,
        build=row.build or None,
        model=row.model,
        target=row.target,
        digest=row.payload,
        size=row.payload_size,
        compile_seconds=row.compile_seconds,
        signer=row.signer,
        reproduced=row.reproduced,
        different=row.different,
    )
