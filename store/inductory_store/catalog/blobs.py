"""Rows of `blob`: the promise that bytes are there."""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import dataclass

from sqlalchemy import Connection, select, update

from .batches import among
from .insert import insert_or_replace
from .order import in_order
from .tables import blob

READY = "ready"
DAMAGED = "damaged"
STRAY = "stray"
"""Bytes that rest without a promise; only what deletes them looks at such a row."""
DELETING = "deleting"
"""Nothing names it, and its bytes are about to go."""


@dataclass(frozen=True)
class BlobRow:
    """A blob that is there."""

    digest: str
    size: int
    packed_size: int
    condemned: bool = False
    """It is promised, and awaits deletion."""


@dataclass(frozen=True)
class KnownBlob:
    """A blob's row, and whether its bytes are promised."""

    row: BlobRow
    promised: bool


_ROW = (blob.c.digest, blob.c.size, blob.c.packed_size, blob.c.condemned_at.is_not(None).label("condemned"))


def ready_blobs(connection: Connection, digests: Collection[str]) -> dict[str, BlobRow]:
    """Return the rows of those of `digests` whose bytes are there, by digest."""
    query = select(*_ROW).where(blob.c.state == READY)
    portions = among(blob.c.digest, digests)
    rows = (row for portion in portions for row in connection.execute(query.where(portion)))
    return {row.digest: BlobRow(*row) for row in rows}


def hold_blobs(connection: Connection, digests: Collection[str]) -> dict[str, BlobRow]:
    """Return the same, and let nobody delete them until the end of the transaction: they are to be named.

    Those that awaited deletion don't any more.
    """
    query = select(*_ROW).where(blob.c.state == READY).order_by(blob.c.digest)
    query = query.with_for_update(read=True, key_share=True)
    portions = among(blob.c.digest, digests)
    rows = (row for portion in portions for row in connection.execute(query.where(portion)))
    held = {row.digest: BlobRow(*row) for row in rows}
    renew_promises(connection, [row.digest for row in held.values() if row.condemned])
    return held


def renew_promises(connection: Connection, digests: Collection[str]) -> set[str]:
    """Let promised blobs await deletion no longer, and return those of `digests` that are promised.

    What nothing names by the time it is looked for is condemned again, and has all of the grace.
    """
    renewed: set[str] = set()
    for portion in among(blob.c.digest, digests):
        promised = in_order(blob.c.digest, where=portion & (blob.c.state == READY))
        statement = update(blob).where(blob.c.digest.in_(promised)).values(condemned_at=None)
        renewed.update(connection.scalars(statement.returning(blob.c.digest)))
    return renewed


def find_row(connection: Connection, digest: str) -> KnownBlob | None:
    """Return what is known of a blob, whatever its state."""
    row = connection.execute(select(*_ROW, blob.c.state).where(blob.c.digest == digest)).first()
    return None if row is None else KnownBlob(BlobRow(*row[:4]), row.state == READY)


def has_blobs(connection: Connection) -> bool:
    """Whether any blob is promised."""
    return connection.scalar(select(blob.c.digest).where(blob.c.state == READY).limit(1)) is not None


def damaged_blob(connection: Connection, digest: str) -> BlobRow | None:
    """Return the row of a blob whose promise was taken back."""
    query = select(blob.c.digest, blob.c.size, blob.c.packed_size)
    row = connection.execute(query.where(blob.c.digest == digest, blob.c.state == DAMAGED)).first()
    return None if row is None else BlobRow(row.digest, row.size, row.packed_size)


def blobs_after(connection: Connection, digest: str, limit: int) -> list[tuple[BlobRow, bool]]:
    """Return the rows behind a digest, in order, each with whether its bytes are promised.

    Those of bytes that were never promised, or are about to go, aren't among them.
    """
    query = select(blob.c.digest, blob.c.size, blob.c.packed_size, blob.c.state).where(blob.c.digest > digest)
    query = query.where(blob.c.state.in_((READY, DAMAGED)))
    rows = connection.execute(query.order_by(blob.c.digest).limit(limit))
    return [(BlobRow(row.digest, row.size, row.packed_size), row.state == READY) for row in rows]


def known_blobs(connection: Connection, digests: Collection[str]) -> set[str]:
    """Return those of `digests` that have a row, promised or not; strays have none to speak of."""
    portions = among(blob.c.digest, digests)
    return {
        found
        for each in portions
        for found in connection.scalars(select(blob.c.digest).where(each, blob.c.state != STRAY))
    }


def add_blob(connection: Connection, row: BlobRow, now: float) -> None:
    """Promise the blob, whatever was known of it; nobody deletes it before the transaction ends."""
    values = {"digest": row.digest, "size": row.size, "packed_size": row.packed_size}
    insert_or_replace(connection, blob, {**values, "state": READY, "created_at": now, "condemned_at": None})


def mark_damaged(connection: Connection, digest: str) -> bool:
    """Take the promise back, so that the next publisher is asked for the bytes again; say whether there was
    one.
    """
    promised = (blob.c.digest == digest, blob.c.state == READY)
    statement = update(blob).where(*promised).values(state=DAMAGED)
    return connection.scalar(statement.returning(blob.c.digest)) is not None
