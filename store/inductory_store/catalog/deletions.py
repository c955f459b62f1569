"""Rows of `blob` on their way out: condemned, about to be deleted, dropped."""

from __future__ import annotations

from collections.abc import Collection

from sqlalchemy import ColumnElement, Connection, delete, or_, select, text, update

from inductory_store.lifetime.blob_fate import BlobHeld

from .batches import among
from .blobs import DAMAGED, DELETING, STRAY
from .insert import insert_first
from .order import in_order
from .tables import artifact_blob, blob, manifest_blob

_NAMING = (artifact_blob.c.digest, manifest_blob.c.digest)


def _is_named() -> ColumnElement[bool]:
    return or_(*(select(column).where(column == blob.c.digest).exists() for column in _NAMING))


def held_after(connection: Connection, digest: str, limit: int) -> list[BlobHeld]:
    """Return blobs behind a digest, in order, with whether an artifact or a manifest names them."""
    columns = (blob.c.digest, blob.c.packed_size, _is_named(), blob.c.condemned_at, blob.c.state == DELETING)
    query = select(*columns).where(blob.c.digest > digest).order_by(blob.c.digest).limit(limit)
    return [BlobHeld(*row) for row in connection.execute(query)]


def known_rows(connection: Connection, digests: Collection[str]) -> set[str]:
    """Return those of `digests` that have a row of any kind."""
    portions = among(blob.c.digest, digests)
    return {found for each in portions for found in connection.scalars(select(blob.c.digest).where(each))}


def condemn_blobs(connection: Connection, digests: Collection[str], now: float) -> set[str]:
    """Let blobs that nothing names await deletion, and return those that didn't. They are promised on."""
    return _mark(connection, digests, blob.c.condemned_at.is_(None) & ~_is_named(), now)


def rescue_blobs(connection: Connection, digests: Collection[str]) -> set[str]:
    """Let blobs await deletion no longer, and return those that did."""
    return _mark(connection, digests, blob.c.condemned_at.is_not(None) & (blob.c.state != STRAY), None)


def _mark(
    connection: Connection, digests: Collection[str], those: ColumnElement[bool], at: float | None
) -> set[str]:
    marked: set[str] = set()
    for portion in among(blob.c.digest, digests):
        rows = in_order(blob.c.digest, where=portion & those & (blob.c.state != DELETING))
        statement = update(blob).where(blob.c.digest.in_(rows)).values(condemned_at=at)
        marked.update(connection.scalars(statement.returning(blob.c.digest)))
    return marked


def note_stray(connection: Connection, digest: str, packed_size: int, now: float) -> bool:
    """Let bytes that rest without a row await deletion; whoever is about to promise them replaces the row."""
    row = {"digest": digest, "size": 0, "packed_size": packed_size, "state": STRAY}
    return insert_first(connection, blob, {**row, "created_at": now, "condemned_at": now})


def take_promise_back(connection: Connection, digest: str, condemned_until: float) -> bool:
    """Promise a blob no longer that nothing names and that was condemned by then, and say whether it was.

    Publishers are asked for it again from here on, and nobody names it: whoever is about to holds its row.
    """
    condemned = (blob.c.condemned_at <= condemned_until) & (blob.c.state != DELETING)
    # Against all others, those included who would only refer to it. What is decided by is read after this.
    query = select(blob.c.digest).where(blob.c.digest == digest, condemned).with_for_update()
    if connection.scalar(query) is None or _named_now(connection, digest):
        return False
    connection.execute(update(blob).where(blob.c.digest == digest).values(state=DELETING))
    return True


def hold_deleting(connection: Connection, digest: str) -> int | None:
    """Return the packed size of a blob whose bytes are to be deleted, or None, and keep all others from it
    for this transaction.

    However long deleting takes, and even where this process stops in the middle of it: who is about to
    promise the bytes anew must wait, or would promise what is deleted under it.
    """
    if connection.dialect.name == "postgresql":
        connection.execute(text("SET LOCAL idle_in_transaction_session_timeout = 0"))
    of_blob = (blob.c.digest == digest, blob.c.state == DELETING)
    packed_size = connection.scalar(select(blob.c.packed_size).where(*of_blob).with_for_update())
    if packed_size is None or not _named_now(connection, digest):
        return packed_size
    # A store of an earlier release doesn't hold what it names. The bytes are there: who reads them finds out.
    values = {"state": DAMAGED, "condemned_at": None}
    connection.execute(update(blob).where(blob.c.digest == digest).values(values))
    return None


def drop_blob(connection: Connection, digest: str) -> None:
    """Delete the row of a blob whose bytes are gone."""
    connection.execute(delete(blob).where(blob.c.digest == digest))


def _named_now(connection: Connection, digest: str) -> bool:
    return any(
        connection.scalar(select(column).where(column == digest).limit(1)) is not None for column in _NAMING
    )
