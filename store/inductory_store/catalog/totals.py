"""How much there is."""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import dataclass

from inductory_client.contract.key import DISPATCH_BACKEND
from inductory_client.contract.wire import Stats
from sqlalchemy import Connection, and_, case, func, select

from .blobs import READY
from .tables import artifact, blob, build, build_entry, manifest_blob

_OF_ARTIFACTS = (
    func.count(artifact.c.key),
    func.sum(case((artifact.c.backend == DISPATCH_BACKEND, 1), else_=0)),
    func.sum(case((and_(artifact.c.reproduced > 0, artifact.c.different == 0), 1), else_=0)),
    func.sum(case((artifact.c.different > 0, 1), else_=0)),
)
"""How many artifacts there are, how many are dispatches, and of how many builders agreed or didn't."""


@dataclass(frozen=True)
class Totals:
    """Counts over all namespaces, for the first page."""

    builds: int
    artifacts: int
    dispatches: int
    agreed: int
    disagreed: int
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
    artifacts = connection.execute(select(*_OF_ARTIFACTS)).one()
    blobs, size, packed_size = connection.execute(
        select(func.count(), func.sum(blob.c.size), func.sum(blob.c.packed_size)).where(blob.c.state == READY)
    ).one()
    return Totals(builds, *(int(each or 0) for each in (*artifacts, blobs, size, packed_size)))


def stats(connection: Connection, namespace: str) -> Stats:
    """Count what one namespace has, and the blobs that all share; three queries."""
    builds = connection.scalar(select(func.count()).select_from(build).where(build.c.namespace == namespace))
    of_artifacts = select(*_OF_ARTIFACTS).where(artifact.c.namespace == namespace)
    artifacts, dispatches, agreed, disagreed = (
        int(each or 0) for each in connection.execute(of_artifacts).one()
    )
    blobs, packed_bytes = connection.execute(
        select(func.count(), func.sum(blob.c.packed_size)).where(blob.c.state == READY)
    ).one()
    return Stats(
        builds=builds or 0,
        artifacts=artifacts,
        dispatches=dispatches,
        agreed=agreed,
        disagreed=disagreed,
        blobs=blobs,
        bytes_at_rest=int(packed_bytes or 0),
    )


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
