"""Hits: whole artifacts and what they load, in one statement."""

from __future__ import annotations

from collections.abc import Collection
from typing import Any

from inductory_client.contract.errors import TooLarge
from sqlalchemy import (
    BindParameter,
    Connection,
    LargeBinary,
    Select,
    bindparam,
    cast,
    literal,
    null,
    select,
    union_all,
)

from .artifacts import RECORDS_AT_ONCE, is_whole
from .blobs import READY, BlobRow
from .tables import artifact, artifact_blob, blob

HITS_AT_ONCE = RECORDS_AT_ONCE
"""For so many keys no record waits for another: there is nothing to stream."""


def hits_of(
    connection: Connection, namespace: str, keys: Collection[str], *, bytes_max: int
) -> tuple[dict[str, bytes], dict[str, BlobRow]]:
    """Return the records of whole artifacts by key, and the rows of what they load by digest.

    For up to HITS_AT_ONCE keys. Raises TooLarge where the records are more than `bytes_max` bytes together.
    """
    records: dict[str, bytes] = {}
    parts: list[tuple[str, BlobRow]] = []
    for row in connection.execute(_HITS, {"namespace": namespace, "keys": sorted(set(keys))}):
        key, record, *part = row
        if record is None:
            parts.append((key, BlobRow(*part)))
        else:
            records[key] = record
    if sum(map(len, records.values())) > bytes_max:
        raise TooLarge("the artifacts don't fit one answer; ask for fewer")
    return records, {row.digest: row for key, row in parts if key in records}


def _hits() -> Select[Any]:
    namespace: BindParameter[str] = bindparam("namespace")
    keys: BindParameter[list[str]] = bindparam("keys", expanding=True)
    records = select(artifact.c.key, artifact.c.record, literal(""), literal(0), literal(0)).where(
        artifact.c.namespace == namespace, artifact.c.key.in_(keys), is_whole()
    )
    loaded = (
        select(
            artifact_blob.c.artifact,
            cast(null(), LargeBinary),
            blob.c.digest,
            blob.c.size,
            blob.c.packed_size,
        )
        .join(blob, blob.c.digest == artifact_blob.c.digest)
        .where(artifact_blob.c.namespace == namespace, artifact_blob.c.artifact.in_(keys))
        .where(artifact_blob.c.loaded, blob.c.state == READY)
    )
    both = union_all(records, loaded).subquery()
    return select(*both.c)


_HITS = _hits()
"""Made once: it is what is asked most, and making it takes longer than PostgreSQL takes to answer."""
