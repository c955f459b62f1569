"""Collecting beside publishers on PostgreSQL: what a transaction decides by stays true until it commits."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import replace
from functools import partial
from typing import TypeVar

import pytest
from inductory_client.contract.blob import pack
from inductory_client.contract.digest import digest_of
from inductory_client.contract.errors import (
    ArtifactMissing,
    BlobMissing,
    InductoryError,
    NotFound,
    StorageFailed,
)
from inductory_client.contract.lifetime import RootWanted
from inductory_store.catalog import lifetimes
from inductory_store.catalog.blobs import BlobRow
from inductory_store.catalog.deletions import condemn_blobs, take_promise_back
from inductory_store.lifetime.holdings import Name
from inductory_store.operations.get_blob import find_blob
from inductory_store.operations.promise import promise
from inductory_store.operations.publish_artifact import publish_artifact
from inductory_store.operations.put_blob import put_blob
from inductory_store.operations.put_build import put_build
from inductory_store.operations.put_manifest import put_manifest
from inductory_store.operations.roots import add_root
from inductory_store.operations.sweep import delete_blob
from inductory_store.store import Store
from postgresql_server import PostgresqlServer
from replicas import NOW, Replicas, wait_until
from store_messages import artifact, build, descriptor, manifest

DATA = b"one"
ONE = artifact([descriptor(DATA)])
CAPTURED = manifest([ONE])
START = build([CAPTURED], "default")
NAMES = {
    "artifact": Name("artifact", ONE.key),
    "manifest": Name("manifest", CAPTURED.id),
    "build": Name("build", START.key),
}

R = TypeVar("R")


@pytest.fixture
def replicas(postgresql: PostgresqlServer) -> Iterator[Replicas]:
    with postgresql.database() as url:
        replicas = Replicas.on(url)
        replicas.put_blob(DATA)
        yield replicas
        replicas.close()


def publish(store: Store) -> str:
    return publish_artifact(store, "default", ONE.key, ONE).outcome


def publish_manifest(store: Store) -> bool:
    return put_manifest(store, "default", CAPTURED.id, CAPTURED).created


def publish_build(store: Store) -> bool:
    return put_build(store, "default", START.key, START).created


PUBLISH: dict[str, Callable[[Store], object]] = {
    "artifact": publish,
    "manifest": publish_manifest,
    "build": publish_build,
}


def outcome(operate: Callable[[Store], R], store: Store) -> R | type[InductoryError]:
    try:
        return operate(store)
    except InductoryError as error:
        return type(error)


def drop(kind: str, store: Store) -> bool:
    with store.catalog.write() as connection:
        return lifetimes.drop(connection, "default", NAMES[kind], NOW, NOW)


def condemn(store: Store, kind: str) -> None:
    with store.catalog.write() as connection:
        assert lifetimes.condemn(connection, NAMES[kind].kind, "default", [NAMES[kind].key], NOW)


def delete(store: Store) -> bool:
    return delete_blob(store, digest_of(DATA), NOW) is not None


def put(store: Store) -> bool:
    return put_blob(store, digest_of(DATA), len(DATA), [pack(DATA)], packed=True)


def take_back(store: Store) -> bool:
    with store.catalog.write() as connection:
        return take_promise_back(connection, digest_of(DATA), NOW)


@pytest.fixture
def condemned_blob(replicas: Replicas) -> None:
    with replicas.first.catalog.write() as connection:
        assert condemn_blobs(connection, [digest_of(DATA)], NOW)


@pytest.mark.usefixtures("condemned_blob")
def test_a_blob_isnt_deleted_under_who_names_it(replicas: Replicas) -> None:
    assert replicas.meet(publish, delete) == ("created", False)
    assert find_blob(replicas.first, digest_of(DATA)).size == len(DATA)


@pytest.mark.usefixtures("condemned_blob")
def test_who_names_a_blob_that_is_being_deleted_is_asked_for_it(replicas: Replicas) -> None:
    assert replicas.meet(take_back, partial(outcome, publish)) == (True, BlobMissing)
    replicas.put_blob(DATA)
    assert publish(replicas.second) == "created"
    assert not delete(replicas.first)
    assert find_blob(replicas.first, digest_of(DATA)).size == len(DATA)


@pytest.mark.usefixtures("condemned_blob")
def test_bytes_that_are_sent_again_while_they_are_deleted_are_refused(replicas: Replicas) -> None:
    """The new ones rest already when the old ones go: they have one name."""
    sent: list[Future[object]] = []

    class Meeting:
        def __getattr__(self, name: str) -> object:
            return getattr(replicas.first.blobs, name)

        def delete(self, digest: str) -> bool:
            sent.append(pool.submit(outcome, put, replicas.second))
            wait_until(lambda: sent[0].done() or replicas.waiting())
            assert replicas.first.blobs.stat(digest) is not None
            return replicas.first.blobs.delete(digest)

    with ThreadPoolExecutor(1) as pool:
        assert delete(replace(replicas.first, blobs=Meeting()))  # type: ignore[arg-type]
        assert sent[0].result() is StorageFailed
    assert put(replicas.second)
    assert publish(replicas.second) == "created"
    assert not delete(replicas.first)


@pytest.mark.usefixtures("condemned_blob")
def test_bytes_that_are_sent_again_before_they_are_deleted_stay(replicas: Replicas) -> None:
    assert take_back(replicas.first)
    row = BlobRow(digest_of(DATA), len(DATA), len(pack(DATA)))
    _, deleted = replicas.meet(lambda store: promise(store, row, look=True), delete)
    assert not deleted
    assert find_blob(replicas.first, digest_of(DATA)).size == len(DATA)


NAMING = [("artifact", "manifest"), ("manifest", "build")]


@pytest.mark.parametrize(("part", "whole"), NAMING)
def test_nothing_is_dropped_under_who_names_it(replicas: Replicas, part: str, whole: str) -> None:
    for kind in PUBLISH:
        if kind == whole:
            break
        PUBLISH[kind](replicas.first)
    condemn(replicas.first, part)
    assert replicas.meet(PUBLISH[whole], partial(drop, part)) == (True, False)


@pytest.mark.parametrize(("part", "whole"), NAMING)
def test_who_names_what_is_being_dropped_is_told(replicas: Replicas, part: str, whole: str) -> None:
    for kind in PUBLISH:
        if kind == whole:
            break
        PUBLISH[kind](replicas.first)
    condemn(replicas.first, part)
    assert replicas.meet(partial(drop, part), partial(outcome, PUBLISH[whole])) == (True, ArtifactMissing)
    for each in PUBLISH.values():
        each(replicas.second)


@pytest.mark.parametrize("kind", NAMES)
def test_what_is_published_again_while_it_is_dropped_is_there(replicas: Replicas, kind: str) -> None:
    for each in PUBLISH.values():
        each(replicas.first)
    for above in ("build", "manifest", "artifact"):
        condemn(replicas.first, above)
        if above == kind:
            break
        assert drop(above, replicas.first)
    dropped, published = replicas.meet(partial(drop, kind), PUBLISH[kind])
    assert dropped
    assert published in ("created", True)
    assert not drop(kind, replicas.first), "it is another, and not condemned"


@pytest.mark.parametrize("kind", NAMES)
def test_what_is_published_again_first_isnt_dropped(replicas: Replicas, kind: str) -> None:
    for each in PUBLISH.values():
        each(replicas.first)
    condemn(replicas.first, kind)
    published, dropped = replicas.meet(PUBLISH[kind], partial(drop, kind))
    assert published in ("reproduced", False)
    assert not dropped


@pytest.mark.parametrize("kind", NAMES)
def test_a_root_and_a_drop_see_each_other(replicas: Replicas, kind: str) -> None:
    for each in PUBLISH.values():
        each(replicas.first)
    for above in ("build", "manifest", "artifact"):
        condemn(replicas.first, above)
        if above == kind:
            break
        assert drop(above, replicas.first)
    name = NAMES[kind]
    root = lambda store: add_root(store, "default", name.kind, name.key, RootWanted()).created  # noqa: E731
    assert replicas.meet(root, partial(drop, kind)) == (True, False)
    with replicas.first.catalog.write() as connection:
        assert lifetimes.condemn(connection, name.kind, "default", [name.key], NOW)
    assert not drop(kind, replicas.first), "condemned or not"


@pytest.mark.parametrize("kind", NAMES)
def test_a_root_of_what_is_being_dropped_is_refused(replicas: Replicas, kind: str) -> None:
    for each in PUBLISH.values():
        each(replicas.first)
    for above in ("build", "manifest", "artifact"):
        condemn(replicas.first, above)
        if above == kind:
            break
        assert drop(above, replicas.first)
    name = NAMES[kind]
    root = lambda store: add_root(store, "default", name.kind, name.key, RootWanted())  # noqa: E731
    assert replicas.meet(partial(drop, kind), partial(outcome, root)) == (True, NotFound)


def test_two_collectors_drop_once(replicas: Replicas) -> None:
    publish(replicas.first)
    condemn(replicas.first, "artifact")
    assert replicas.meet(partial(drop, "artifact"), partial(drop, "artifact")) == (True, False)


def test_a_flag_that_a_publisher_relies_on_isnt_taken_away(replicas: Replicas) -> None:
    """The artifact was named once, and is about to be named again."""
    publish(replicas.first)
    publish_manifest(replicas.first)
    condemn(replicas.first, "manifest")
    assert drop("manifest", replicas.first)
    with replicas.first.catalog.read() as connection:
        assert lifetimes.unnamed(connection, "default") == [NAMES["artifact"]]

    def unname(store: Store) -> bool:
        with store.catalog.write() as connection:
            return lifetimes.note_unnamed(connection, "default", NAMES["artifact"])

    assert replicas.meet(publish_manifest, unname) == (True, False)
    with replicas.first.catalog.read() as connection:
        assert lifetimes.unnamed(connection, "default") == []
