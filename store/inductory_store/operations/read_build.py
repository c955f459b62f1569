"""Reading builds and manifests."""

from __future__ import annotations

from inductory_client.contract.build import Build
from inductory_client.contract.errors import NotFound
from inductory_client.contract.manifest import Manifest
from inductory_client.contract.wire import BuildPage, BuildSummary

from inductory_store.catalog import builds as rows
from inductory_store.catalog.builds import BuildPlace
from inductory_store.catalog.manifests import manifests
from inductory_store.store import Store

from .cursor import cursor_at, place_of
from .instants import instant_text


def read_build(store: Store, namespace: str, key: str) -> Build:
    """Return a build with all entries that were ever published. Raises NotFound."""
    with store.catalog.read() as connection:
        build = rows.read_build(connection, namespace, key)
    if build is None:
        raise NotFound(f"there is no build {key} in {namespace}")
    store.uses.add("build", namespace, [key])
    return build


def read_manifest(store: Store, namespace: str, manifest_id: str) -> Manifest:
    """Return a manifest. Raises NotFound."""
    with store.catalog.read() as connection:
        manifest = manifests(connection, namespace, [manifest_id]).get(manifest_id)
    if manifest is None:
        raise NotFound(f"there is no manifest {manifest_id} in {namespace}")
    store.uses.add("manifest", namespace, [manifest_id])
    return manifest


def list_builds(store: Store, namespace: str, cursor: str | None, limit: int) -> BuildPage:
    """Return a page of builds, the newest first; what is published meanwhile moves none of the rest."""
    after = place_of(cursor, BuildPlace, ("builds", namespace))
    with store.catalog.read() as connection:
        found = rows.list_builds(connection, namespace, after, limit + 1)
    page = found[:limit]
    more = len(found) > limit
    return BuildPage(
        builds=tuple(_summary(row) for row in page),
        next=cursor_at(BuildPlace(page[-1].created_at, page[-1].key), ("builds", namespace))
        if more
        else None,
    )


def _summary(row: rows.BuildRow) -> BuildSummary:
    return BuildSummary(
        key=row.key,
        namespace=row.namespace,
        component=row.component,
        model=row.model,
        target=row.target,
        entries=row.entries,
        graphs=row.graphs,
        artifacts=row.artifacts,
        dispatches=row.dispatches,
        created_at=instant_text(row.created_at),
    )
