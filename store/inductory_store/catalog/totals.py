"""How much there is."""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import dataclass

from inductory_client.contract.wire import Stats
from sqlalchemy import Connection, func, select

from .blobs import READY
from .tables import artifact, blob, build, build_entry, manifest_blob


@dataclass(frozen=True)
class Totals:
    """Counts over all namespaces, for the first page."""

    builds: int
    artifacts: int
    reproduced: int
    different: int
    blobs: int
    blob_bytes: int
    packed_bytes: int


@dataclass(frozen=True)
class DocumentRow:
    """A document of a build that can be read."""

    namespace: str
    build: str
    manifest: str
    name: str


def totals(connection: Connection) -> Totals:
    """Count builds, artifacts and blobs; three queries."""
    builds = connection.scalar(select(func.count()).select_from(build)) or 0
    artifacts, reproduced, different = connection.execute(
        select(func.count(), func.sum(artifact.c.reproduced), func.sum(artifact.c.different)).select_from(
            artifact
        )
    ).one()
    blobs, size, packed_size = connection.execute(
        select(func.count(), func.sum(blob.c.size), func.sum(blob.c.packed_size)).where(blob.c.state == READY)
    ).one()
    sums = (reproduced, different, blobs, size, packed_size)
    return Totals(builds, artifacts, *(int(each or 0) for each in sums))


def stats(connection: Connection, namespace: str) -> Stats:
    """Count what one namespace has, and the blobs that all share; three queries."""
    builds, artifacts = (
        connection.scalar(select(func.count()).select_from(table).where(table.c.namespace == namespace)) or 0
        for table in (build, artifact)
    )
    blobs, packed_bytes = connection.execute(
        select(func.count(), func.sum(blob.c.packed_size)).where(blob.c.state == READY)
    ).one()
    return Stats(builds=builds, artifacts=artifacts, blobs=blobs, bytes_at_rest=int(packed_bytes or 0))


def documents(connection: Connection, builds: Collection[str]) -> list[DocumentRow]:
    """Return the documents of builds, in the order of their entries."""
    of_manifest = (manifest_blob.c.namespace == build_entry.c.namespace) & (
        manifest_blob.c.manifest == build_entry.c.manifest
    )
    rows = connection.execute(
        select(build_entry.c.namespace, build_entry.c.build, build_entry.c.manifest, manifest_blob.c.name)
        .join(manifest_blob, of_manifest)
        .where(build_entry.c.build.in_(sorted(builds)), manifest_blob.c.role == "document")
        .order_by(build_entry.c.build, build_entry.c.position, manifest_blob.c.position)
    )
    return [DocumentRow(*row) for row in rows]
