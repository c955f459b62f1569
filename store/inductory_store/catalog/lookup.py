"""The REST lookup: artifacts joined with the manifests and builds that use them."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Annotated, Any, NamedTuple

from msgspec import Meta
from sqlalchemy import (
    ColumnElement,
    CompoundSelect,
    Connection,
    Integer,
    Row,
    Select,
    String,
    and_,
    cast,
    exists,
    literal,
    null,
    select,
    tuple_,
    union_all,
)

from .tables import artifact, artifact_blob, build, build_entry, manifest, manifest_entry


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
    disagreed: bool = False
    """Only artifacts of which builders made different bytes."""


_Digest = Annotated[str, Meta(max_length=64, pattern="^[0-9a-f]*$")]
_Text = Annotated[str, Meta(max_length=64, pattern=r"^[ -~]*$")]


class Place(NamedTuple):
    """Where a row stands in the lookup's order. No two rows have the same place.

    Its parts are bounded like what they come from, for a cursor may come from anybody.
    """

    build: _Digest
    """Empty where no build names the manifest."""
    manifest: _Digest
    """Empty where no manifest names the artifact."""
    submodule_index: Annotated[int, Meta(ge=-1, le=1_000_000)]
    """-1 where the artifact is no part of a manifest."""
    shape: _Text
    backend: _Text
    artifact: _Digest


START = Place("", "", -1, "", "", "")
_BY_ARTIFACT = ("artifact", "build", "manifest", "submodule_index", "shape", "backend")
"""The order of a target's rows: an artifact's uses stand together."""
_ARTIFACTS_AT_FIRST = 8
_ARTIFACTS_AT_ONCE_MAX = 512
"""Most artifacts whose uses one statement reads."""

_OF_ARTIFACT = (
    artifact.c.target,
    artifact.c.scheme,
    artifact.c.scheme_key,
    artifact.c.payload,
    artifact.c.payload_size,
    artifact.c.compile_seconds,
    artifact.c.signer,
    artifact.c.reproduced,
    artifact.c.different,
)


_ENTRY = (
    manifest_entry.c.submodule_index,
    manifest_entry.c.shape,
    manifest_entry.c.backend,
    manifest_entry.c.artifact,
)
_IS_USED = (artifact.c.namespace == manifest_entry.c.namespace) & (
    artifact.c.key == manifest_entry.c.artifact
)

_Wanted = tuple[ColumnElement[Any], Any]


def look_up(
    connection: Connection, filters: Filters, after: Place | None, limit: int
) -> list[tuple[Place, Row[Any]]]:
    """Return rows in the order of their places, from the one after `after` on; one query.

    Those of a target alone come in the order of their artifacts instead (`_by_target`).

    A row is a use of an artifact by a manifest in a build, or of a dispatch by a build; an artifact that
    nothing names is one, too, as is a use by a manifest that no build names. Each of the four kinds is read
    in the order of an index, from the place on and no further than the limit, so that a page costs the same
    wherever it is.
    """
    after = after or START
    alone = Filters(namespace=filters.namespace, target=filters.target)
    if filters == alone and filters.target is not None:
        return _by_target(connection, filters, after, limit)
    pages = [select(kind.limit(limit).subquery()) for kind in _kinds(filters, after)]
    query = union_all(*pages).order_by(*Place._fields).limit(limit)
    return _rows(connection, query)


def _by_target(
    connection: Connection, filters: Filters, after: Place, limit: int
) -> list[tuple[Place, Row[Any]]]:
    """Return rows of a target's artifacts, in the order of these: first by artifact, then by place.

    In the order of places builds would be walked through that have nothing of the target, and of all builds
    these are most. Here some artifacts are taken from an index, and then their uses: more of them as long as
    that doesn't fill the page.
    """
    found: list[tuple[Place, Row[Any]]] = []
    of_target = select(artifact.c.key).where(
        artifact.c.namespace == filters.namespace, artifact.c.target == filters.target
    )
    following, count = of_target.where(artifact.c.key >= after.artifact), _ARTIFACTS_AT_FIRST
    while len(found) < limit:
        keys = connection.scalars(following.order_by(artifact.c.key).limit(count)).all()
        if not keys:
            break
        kinds = (kind.where(artifact.c.key.in_(keys)).order_by(None) for kind in _kinds(filters, START))
        uses = union_all(*kinds).subquery()
        order = [uses.c[name] for name in _BY_ARTIFACT]
        query = select(uses).where(tuple_(*order) > tuple_(*(getattr(after, name) for name in _BY_ARTIFACT)))
        found += _rows(connection, query.order_by(*order).limit(limit - len(found)))
        following = of_target.where(artifact.c.key > keys[-1])
        count = min(2 * count, _ARTIFACTS_AT_ONCE_MAX)
    return found


def _rows(connection: Connection, query: Select[Any] | CompoundSelect[Any]) -> list[tuple[Place, Row[Any]]]:
    rows = connection.execute(query).all()
    return [(Place(*(getattr(row, name) for name in Place._fields)), row) for row in rows]


def _kinds(filters: Filters, after: Place) -> list[Select[Any]]:
    kinds = [_of_builds(filters, after)]
    if filters.submodule_index is None:
        kinds.append(_dispatches(filters, after))
    if filters.build is None and filters.model is None and not after.build:
        kinds.append(_of_manifests(filters, after))
        if filters.manifest is None and filters.submodule_index is None and not after.manifest:
            kinds.append(_unused(filters, after))
    return kinds


def _unused(filters: Filters, after: Place) -> Select[Any]:
    """Return artifacts that neither a manifest nor a build names."""
    order = (artifact.c.shape, artifact.c.backend, artifact.c.key)
    place = (literal("", String), literal("", String), literal(-1, Integer), *order)
    query = (
        _selected(place, cast(null(), String))
        .where(artifact.c.namespace == filters.namespace, ~artifact.c.used)
        .where(tuple_(*order) > tuple_(after.shape, after.backend, after.artifact))
        .order_by(*order)
    )
    wanted = [(artifact.c.shape, filters.shape), (artifact.c.backend, filters.backend)]
    return _filtered(query, wanted, filters)


def _of_manifests(filters: Filters, after: Place) -> Select[Any]:
    """Return uses by manifests that no build names: a few, for builds are published with their manifests."""
    place = (literal("", String), manifest_entry.c.manifest, *_ENTRY)
    unbuilt = select(manifest.c.id).where(
        manifest.c.namespace == filters.namespace, ~manifest.c.built, manifest.c.id >= after.manifest
    )
    query = (
        _selected(place, cast(null(), String))
        .select_from(manifest_entry)
        .join(artifact, _IS_USED)
        .where(manifest_entry.c.namespace == filters.namespace, manifest_entry.c.manifest.in_(unbuilt))
        .where(tuple_(*place[1:-1]) > tuple_(*after[1:-1]))
        .order_by(*place[1:-1])
    )
    return _filtered(query, [(manifest_entry.c.manifest, filters.manifest), *_of_entry(filters)], filters)


def _of_builds(filters: Filters, after: Place) -> Select[Any]:
    """Return uses by manifests of builds; a manifest that a build has under two names is one use."""
    place = (build_entry.c.build, build_entry.c.manifest, *_ENTRY)
    query = (
        _selected(place, build.c.model)
        .select_from(build_entry)
        .join(build, (build.c.namespace == build_entry.c.namespace) & (build.c.key == build_entry.c.build))
        .join(manifest_entry, _in_manifest(build_entry.c.namespace, build_entry.c.manifest))
        .join(artifact, _IS_USED)
        .where(build_entry.c.namespace == filters.namespace)
        .where(_first("namespace", "build", "manifest"))
        .where(build.c.key >= after.build, tuple_(*place[:2]) >= tuple_(*after[:2]))
        .where(tuple_(*place[:-1]) > tuple_(*after[:-1]))
        .order_by(*place[:-1])
    )
    wanted = [
        (build.c.model, filters.model),
        (build_entry.c.build, filters.build),
        (build_entry.c.manifest, filters.manifest),
    ]
    return _filtered(query, [*wanted, *_of_entry(filters)], filters)


def _dispatches(filters: Filters, after: Place) -> Select[Any]:
    """Return dispatches of builds; each stands before the pieces of the manifest that it calls."""
    of_artifact = (artifact.c.shape, artifact.c.backend, artifact.c.key)
    place = (build_entry.c.build, build_entry.c.manifest, literal(-1, Integer), *of_artifact)
    dispatched = (artifact.c.namespace == build_entry.c.namespace, artifact.c.key == build_entry.c.dispatch)
    query = (
        _selected(place, build.c.model)
        .select_from(build_entry)
        .join(build, (build.c.namespace == build_entry.c.namespace) & (build.c.key == build_entry.c.build))
        .join(artifact, and_(*dispatched))
        .where(build_entry.c.namespace == filters.namespace, build_entry.c.dispatch.is_not(None))
        .where(_first("namespace", "build", "manifest", "dispatch"))
        .where(build.c.key >= after.build, tuple_(*place[:2]) >= tuple_(*after[:2]))
        .where(tuple_(*place) > tuple_(*after))
        .order_by(*place[:2], *of_artifact)
    )
    wanted = [
        (build.c.model, filters.model),
        (build_entry.c.build, filters.build),
        (build_entry.c.manifest, filters.manifest),
        (artifact.c.shape, filters.shape),
        (artifact.c.backend, filters.backend),
    ]
    return _filtered(query, wanted, filters)


def _first(*names: str) -> ColumnElement[bool]:
    """Whether no earlier entry of the build is the same use under another name."""
    again = build_entry.alias("again")
    same = (again.c[name] == build_entry.c[name] for name in names)
    return ~exists().where(*same, again.c.position < build_entry.c.position)


def _in_manifest(namespace: ColumnElement[str], manifest_id: ColumnElement[str]) -> ColumnElement[bool]:
    return (manifest_entry.c.namespace == namespace) & (manifest_entry.c.manifest == manifest_id)


def _of_entry(filters: Filters) -> list[_Wanted]:
    return [
        (manifest_entry.c.submodule_index, filters.submodule_index),
        (manifest_entry.c.shape, filters.shape),
        (manifest_entry.c.backend, filters.backend),
    ]


def _selected(place: Sequence[ColumnElement[Any]], model: ColumnElement[Any]) -> Select[Any]:
    parts = (column.label(name) for name, column in zip(Place._fields, place, strict=True))
    return select(*parts, model.label("model"), *_OF_ARTIFACT)


def _filtered(query: Select[Any], wanted: Sequence[_Wanted], filters: Filters) -> Select[Any]:
    """Add what is wanted of the use, and of the artifact itself."""
    of_artifact = [(artifact.c.target, filters.target), (artifact.c.scheme, filters.scheme)]
    for column, value in (*wanted, *of_artifact):
        if value is not None:
            query = query.where(column == value)
    if filters.disagreed:
        query = query.where(artifact.c.different > 0)
    if filters.digest is not None:
        having = select(artifact_blob.c.artifact).where(artifact_blob.c.digest == filters.digest)
        query = query.where(artifact.c.key.in_(having.where(artifact_blob.c.namespace == filters.namespace)))
    return query
