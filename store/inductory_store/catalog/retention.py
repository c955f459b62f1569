"""Rows of `retention`, and how much a namespace names."""

from __future__ import annotations

from inductory_client.contract.lifetime import Retention
from sqlalchemy import Connection, func, select, union

from .insert import insert_or_replace
from .tables import artifact, artifact_blob, blob, build, manifest, manifest_blob, retention


def read_retention(connection: Connection, namespace: str) -> Retention:
    """Return the rule of a namespace; without a row everything is kept."""
    query = select(retention.c.unused_days, retention.c.bytes_max).where(retention.c.namespace == namespace)
    row = connection.execute(query).first()
    return Retention() if row is None else Retention(unused_days=row.unused_days, bytes_max=row.bytes_max)


def put_retention(connection: Connection, namespace: str, value: Retention) -> None:
    """Give a namespace its rule."""
    row = {"namespace": namespace, "unused_days": value.unused_days, "bytes_max": value.bytes_max}
    insert_or_replace(connection, retention, row)


def used_bytes(connection: Connection, namespace: str) -> int:
    """Return the packed bytes of all blobs that a namespace names, once each."""
    named = union(
        *(
            select(table.c.digest).where(table.c.namespace == namespace)
            for table in (artifact_blob, manifest_blob)
        )
    )
    total = connection.scalar(select(func.sum(blob.c.packed_size)).where(blob.c.digest.in_(named)))
    return int(total or 0)


def namespaces(connection: Connection) -> list[str]:
    """Return the namespaces in which anything is kept, in order."""
    kept = union(*(select(table.c.namespace) for table in (artifact, manifest, build)))
    return sorted(connection.scalars(kept))
