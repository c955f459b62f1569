"""The REST lookup: artifacts joined with the manifests and builds that use them."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, NamedTuple

from sqlalchemy import ColumnElement, Connection, Row, Select, func, literal, select, tuple_

from .tables import artifact, artifact_blob, build, build_entry, manifest_entry


@dataclass(frozen=True, kw_only=True)
class Filters:
    """What rows are wanted; None for any. Shapes as `shape_text` writes them."""

    namespace: str
    shape: str | None = None
    submodule_index: int | None = None
    backend: str | None = None
    model: str | None = None
    target: str | None = None
    digest: str | None = None
    """Of any of the artifact's blobs."""
    build: str | None = None
    manifest: str | None = None
    scheme: str | None = None


class Place(NamedTuple):
    """Where a row stands in the lookup's order. No two rows have the same place."""

    build: str
    manifest: str
    submodule_index: int
    shape: str
    backend: str
    artifact: str


def look_up(
    connection: Connection, filters: Filters, after: Place | None, limit: int
) -> list[tuple[Place, Row[Any]]]:
    """Return rows in the order of their places, from the one after `after` on.

    A row is a use of an artifact by a manifest in a build; an artifact that no manifest names is one, too.
    """
    query, place = _query(filters)
    if after is not None:
        query = query.where(tuple_(*place) > tuple_(*(literal(part) for part in after)))
    rows = connection.execute(query.order_by(*place).limit(limit)).all()
    return [
        (Place(row.build or "", row.manifest or "", _index(row), row.shape, row.backend, row.artifact), row)
        for row in rows
    ]


def _index(row: Row[Any]) -> int:
    return -1 if row.submodule_index is None else int(row.submodule_index)


def _query(filters: Filters) -> tuple[Select[Any], tuple[ColumnElement[Any], ...]]:
    """Return the filtered join, and the columns of its order."""
    use = manifest_entry
    # A build may name one manifest twice, under two names; that is one use.
    built = (
        select(build_entry.c.namespace, build_entry.c.build, build_entry.c.manifest, build.c.model)
        .join(build, (build.c.namespace == build_entry.c.namespace) & (build.c.key == build_entry.c.build))
        .where(build_entry.c.namespace == filters.namespace)
        .distinct()
        .subquery("built")
    )
    shape = func.coalesce(use.c.shape, artifact.c.shape)
    backend = func.coalesce(use.c.backend, artifact.c.backend)
    columns = {
        "shape": shape,
        "submodule_index": use.c.submodule_index,
        "backend": backend,
        "model": built.c.model,
        "target": artifact.c.target,
        "build": built.c.build,
        "manifest": use.c.manifest,
        "scheme": artifact.c.scheme,
    }
    query = (
        select(
            artifact.c.key.label("artifact"),
            artifact.c.scheme_key,
            artifact.c.payload,
            artifact.c.payload_size,
            artifact.c.compile_seconds,
            artifact.c.signer,
            *(column.label(name) for name, column in columns.items()),
        )
        .outerjoin(use, (use.c.namespace == artifact.c.namespace) & (use.c.artifact == artifact.c.key))
        .outerjoin(built, (built.c.namespace == use.c.namespace) & (built.c.manifest == use.c.manifest))
        .where(artifact.c.namespace == filters.namespace)
    )
    for name, column in columns.items():
        wanted = getattr(filters, name)
        if wanted is not None:
            query = query.where(column == wanted)
    if filters.digest is not None:
        query = query.where(_has_blob(filters.digest))
    place = (
        func.coalesce(built.c.build, ""),
        func.coalesce(use.c.manifest, ""),
        func.coalesce(use.c.submodule_index, -1),
        shape,
        backend,
        artifact.c.key,
    )
    return query, place


def _has_blob(digest: str) -> ColumnElement[bool]:
    return (
        select(artifact_blob.c.position)
        .where(artifact_blob.c.namespace == artifact.c.namespace, artifact_blob.c.artifact == artifact.c.key)
        .where(artifact_blob.c.digest == digest)
        .exists()
    )
