"""Rows of `repeat`: what later builders made of a key that is there."""

from __future__ import annotations

from dataclasses import dataclass

from inductory_client.contract import wire
from inductory_client.contract.agreement import Comparison
from inductory_client.contract.artifact import Artifact
from inductory_client.contract.digest import digest_of
from sqlalchemy import Connection, Row, Select, delete, func, select, update

from .insert import insert_first
from .tables import artifact, repeat

REPEATS_MAX = 100
"""Most that are kept, and counted, of one artifact: so many equal ones, and so many different ones."""


@dataclass(frozen=True)
class RepeatRow:
    """A later artifact of a key, compared with the one that is kept."""

    namespace: str
    artifact: str
    signer: str
    builder: str
    created_at: float
    comparison: Comparison


def add_repeat(
    connection: Connection, namespace: str, value: Artifact, comparison: Comparison, now: float
) -> None:
    """Note and count that somebody else compiled a key. The very same record is counted once."""
    key, equal = value.key, comparison.differing == 0
    of_artifact = (repeat.c.namespace == namespace, repeat.c.artifact == key)
    kept = select(func.count()).select_from(repeat).where(*of_artifact, repeat.c.equal == equal)
    if (connection.scalar(kept) or 0) >= REPEATS_MAX:
        return
    row = {
        "namespace": namespace,
        "artifact": key,
        "record_digest": digest_of(wire.encode(value)),
        "equal": equal,
        "signer": value.signature.signer,
        "builder": value.provenance.builder,
        "created_at": now,
        "comparison": wire.encode(comparison),
    }
    if insert_first(connection, repeat, row):
        column = artifact.c.reproduced if equal else artifact.c.different
        counted = (artifact.c.namespace == namespace, artifact.c.key == key)
        connection.execute(update(artifact).where(*counted).values({column: column + 1}))


def forget_repeats(connection: Connection, namespace: str, key: str) -> None:
    """Drop what was compared with an artifact that is kept no longer."""
    connection.execute(delete(repeat).where(repeat.c.namespace == namespace, repeat.c.artifact == key))
    counted = (artifact.c.namespace == namespace, artifact.c.key == key)
    connection.execute(update(artifact).where(*counted).values(reproduced=0, different=0))


def repeats_of(connection: Connection, namespace: str, key: str) -> list[RepeatRow]:
    """Return all that is kept of one artifact, the newest first."""
    query = _newest().where(repeat.c.namespace == namespace, repeat.c.artifact == key)
    return [_row(row) for row in connection.execute(query)]


def newest_differing(connection: Connection, limit: int) -> list[RepeatRow]:
    """Return the newest that differ from what is kept, of all namespaces."""
    return [_row(row) for row in connection.execute(_newest().where(~repeat.c.equal).limit(limit))]


def _newest() -> Select[tuple[object, ...]]:
    return select(repeat).order_by(repeat.c.created_at.desc(), repeat.c.record_digest)


def _row(row: Row[tuple[object, ...]]) -> RepeatRow:
    comparison = wire.decode(row.comparison, Comparison)
    return RepeatRow(row.namespace, row.artifact, row.signer, row.builder, row.created_at, comparison)
