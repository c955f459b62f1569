"""Rows of `blob`: the promise that bytes are there."""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import dataclass

from sqlalchemy import Connection, select, update

from .batches import among
from .insert import insert_or_replace
from .tables import blob

READY = "ready"
DAMAGED = "damaged"


@dataclass(frozen=True)
class BlobRow:
    """A blob that is there."""

    digest: str
    size: int
    packed_size: int


def ready_blobs(connection: Connection, digests: Collection[str]) -> dict[str, BlobRow]:
    """Return the rows of those of `digests` whose bytes are there, by digest."""
    query = select(blob.c.digest, blob.c.size, blob.c.packed_size).where(blob.c.state == READY)
    portions = among(blob.c.digest, digests)
    rows = (row for portion in portions for row in connection.execute(query.where(portion)))
    return {row.digest: BlobRow(row.digest, row.size, row.packed_size) for row in rows}


def has_blobs(connection: Connection) -> bool:
    """Whether any blob is promised."""
    return connection.scalar(select(blob.c.digest).where(blob.c.state == READY).limit(1)) is not None


def damaged_blob(connection: Connection, digest: str) -> BlobRow | None:
    """Return the row of a blob whose promise was taken back."""
    query = select(blob.c.digest, blob.c.size, blob.c.packed_size)
    row = connection.execute(query.where(blob.c.digest == digest, blob.c.state == DAMAGED)).first()
    return None if row is None else BlobRow(row.digest, row.size, row.packed_size)


def blobs_after(connection: Connection, digest: str, limit: int) -> list[tuple[BlobRow, bool]]:
    """Return the rows behind a digest, in order, each with whether its bytes are promised."""
    query = select(blob.c.digest, blob.c.size, blob.c.packed_size, blob.c.state).where(blob.c.digest > digest)
    rows = connection.execute(query.order_by(blob.c.digest).limit(limit))
    return [(BlobRow(row.digest, row.size, row.packed_size), row.state == READY) for row in rows]


def known_blobs(connection: Connection, digests: Collection[str]) -> set[str]:
    """Return those of `digests` that have a row, promised or not."""
    portions = among(blob.c.digest, digests)
    return {found for each in portions for found in connection.scalars(select(blob.c.digest).where(each))}


def add_blob(connection: Connection, row: BlobRow, now: float) -> None:
    """Promise the blob; one that was found damaged is whole again."""
    values = {"digest": row.digest, "size": row.size, "packed_size": row.packed_size}
    insert_or_replace(connection, blob, {**values, "state": READY, "created_at": now})


def mark_damaged(connection: Connection, digest: str) -> None:
    """Take the promise back, so that the next publisher is asked for the bytes again."""
    connection.execute(update(blob).where(blob.c.digest == digest).values(state=DAMAGED))
