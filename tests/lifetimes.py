"""Stores that things grow old in, for tests: a clock that is moved, and builds that are published whole."""

from __future__ import annotations

import io
from contextlib import suppress

from inductory_client.contract import wire
from inductory_client.contract.blob import pack
from inductory_client.contract.bundle import BundleIndex, read_frames
from inductory_client.contract.descriptor import PYTHON
from inductory_client.contract.digest import digest_of
from inductory_client.contract.errors import NotFound
from inductory_client.contract.lifetime import Retention
from inductory_client.contract.manifest import BLUEPRINT
from inductory_store.catalog.artifacts import whole_artifacts
from inductory_store.catalog.blobs import ready_blobs
from inductory_store.catalog.tables import artifact as artifact_row
from inductory_store.catalog.tables import build as build_row
from inductory_store.catalog.tables import manifest_blob
from inductory_store.operations.bundle import blobs_of, open_bundle
from inductory_store.operations.collect import Collected, collect
from inductory_store.operations.note_uses import note_uses
from inductory_store.operations.publish_artifact import publish_artifact
from inductory_store.operations.put_blob import put_blob
from inductory_store.operations.put_build import put_build
from inductory_store.operations.put_manifest import put_manifest
from inductory_store.operations.resolve import resolve
from inductory_store.operations.retention import set_retention
from inductory_store.operations.scrub import scrub
from inductory_store.store import Store
from sqlalchemy import select
from store_messages import artifact, build, descriptor, manifest

DAY = 86_400.0
NOW = 1_800_000_000.0
SOURCE = b"# what is read"


class Later:
    """A clock that a test moves."""

    def __init__(self) -> None:
        self.now = NOW

    def __call__(self) -> float:
        return self.now

    def after(self, *, days: float) -> float:
        self.now += days * DAY
        return self.now


def put(store: Store, data: bytes) -> str:
    digest = digest_of(data)
    put_blob(store, digest, len(data), [pack(data)], packed=True)
    return digest


def publish(store: Store, name: str, data: bytes | None = None) -> tuple[str, str, str]:
    """Publish a build of one manifest of one artifact; return their names, the artifact's first."""
    data = data or name.encode() * 100
    put(store, data)
    put(store, SOURCE)
    value = artifact([descriptor(data)], name)
    publish_artifact(store, "default", value.key, value)
    captured = manifest([value], name, documents=(descriptor(SOURCE, PYTHON, BLUEPRINT),))
    put_manifest(store, "default", captured.id, captured)
    start = build([captured], "default", name)
    put_build(store, "default", start.key, start)
    return value.key, captured.id, start.key


def gc(store: Store, now: float) -> Collected:
    return collect(store, now, dry_run=False)


def at_rest(store: Store) -> set[str]:
    return set(store.blobs.list())


def is_there(store: Store, key: str) -> bool:
    asked = wire.Resolve(artifacts=(wire.ArtifactWanted(key=key),))
    return bool(resolve(store, "default", asked).hits)


def keep_days(store: Store, days: int | None, bytes_max: int | None = None) -> None:
    set_retention(store, "default", Retention(unused_days=days, bytes_max=bytes_max))


def use(store: Store, name: str) -> None:
    """Start from a build as a node does, if it is there, and have that noted."""
    key = build([], "default", name).key
    with suppress(NotFound):
        found = open_bundle(store, "default", key)
        assert found
    note_uses(store)


def check(store: Store) -> int:
    """Find that every name has its bytes, and return how many builds there are."""
    found = [each for each in scrub(store).found if each.what not in ("unpromised", "whole")]
    assert found == [], "every promise holds"
    with store.catalog.read() as connection:
        keys = set(connection.scalars(select(artifact_row.c.key)))
        assert whole_artifacts(connection, "default", keys) == keys, "no artifact without its blobs"
        documents = set(connection.scalars(select(manifest_blob.c.digest)))
        assert ready_blobs(connection, documents).keys() == documents
        builds = list(connection.scalars(select(build_row.c.key)))
    for key in builds:
        store.answers.forget()
        bundle = open_bundle(store, "default", key)
        frames = read_frames(io.BytesIO(bundle if isinstance(bundle, bytes) else b"".join(bundle)), 1 << 30)
        index, *blobs = frames
        pieces = wire.decode(index[1], BundleIndex)
        assert pieces.artifacts
        assert {digest for digest, _, _ in blobs} == {each.digest for each in blobs_of(pieces)}
    return len(builds)
