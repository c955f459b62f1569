"""Sweeping blobs that nothing names: when they go, who is asked for them again, and who is refused."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pytest
from inductory_client.contract import wire
from inductory_client.contract.blob import pack
from inductory_client.contract.digest import digest_of
from inductory_client.contract.errors import BlobMissing, StorageFailed
from inductory_client.contract.lifetime import Retention
from inductory_store.catalog.blobs import DELETING
from inductory_store.catalog.deletions import take_promise_back
from inductory_store.catalog.tables import blob
from inductory_store.operations.get_blob import find_blob, read_blob
from inductory_store.operations.missing_blobs import missing_blobs
from inductory_store.operations.publish_artifact import publish_artifact
from inductory_store.operations.retention import set_retention
from inductory_store.operations.scrub import scrub
from inductory_store.serve import migrate, opened
from inductory_store.settings import StoreSettings
from inductory_store.store import Store
from lifetimes import Later, at_rest, check, gc, is_there, keep_days, publish, put
from sqlalchemy import select, update
from store_messages import artifact, descriptor
from store_process import Database


@pytest.fixture
def clock() -> Later:
    return Later()


@pytest.fixture
def store(database: Database, tmp_path: Path, clock: Later) -> Iterator[Store]:
    settings = StoreSettings.load(database, data_dir=tmp_path / "data")
    migrate(settings)
    with opened(settings) as store:
        yield replace(store, clock=clock)


def test_a_blob_of_two_namespaces_goes_with_the_last(store: Store, clock: Later) -> None:
    data = b"shared" * 100
    publish(store, "here", data)
    value = artifact([descriptor(data)], "there")
    publish_artifact(store, "other", value.key, value)
    keep_days(store, 1)
    for _ in range(5):
        gc(store, clock.after(days=2))
    assert at_rest(store) == {digest_of(data)}
    set_retention(store, "other", Retention(unused_days=1))
    for _ in range(3):
        gc(store, clock.after(days=2))
    assert at_rest(store) == set()


def test_what_no_upload_finished_is_swept(store: Store, clock: Later) -> None:
    unnamed, stray = b"never named" * 100, b"never promised" * 100
    put(store, unnamed)
    store.blobs.put(digest_of(stray), len(stray), [pack(stray)])
    found = gc(store, clock.now)
    assert found.blobs.condemn == (digest_of(unnamed),)
    assert found.blobs.stray == (digest_of(stray),)
    assert [each.what for each in scrub(store).found] == ["unpromised"], "a stray is no promise"
    assert gc(store, clock.after(days=0.9)).blobs.delete == ()
    put(store, stray)
    assert gc(store, clock.after(days=0.2)).blobs.delete == (digest_of(unnamed),)
    assert at_rest(store) == {digest_of(stray)}


def test_a_promise_that_is_asked_for_lasts_for_a_grace(store: Store, clock: Later) -> None:
    data = b"payload" * 100
    digest = put(store, data)
    gc(store, clock.now)
    clock.after(days=2)
    assert missing_blobs(store, wire.BlobsWanted(digests=(digest,))).missing == ()
    gc(store, clock.now)
    value = artifact([descriptor(data)])
    publish_artifact(store, "default", value.key, value)
    gc(store, clock.after(days=2))
    assert is_there(store, value.key)
    assert read_blob(store, digest, len(data), 0, len(data)) == data


def test_what_is_deleted_is_asked_of_the_next_publisher(store: Store, clock: Later) -> None:
    data = b"payload" * 100
    digest = put(store, data)
    gc(store, clock.now)
    gc(store, clock.after(days=2))
    value = artifact([descriptor(data)])
    with pytest.raises(BlobMissing):
        publish_artifact(store, "default", value.key, value)
    assert missing_blobs(store, wire.BlobsWanted(digests=(digest,))).missing == (digest,)
    put(store, data)
    assert publish_artifact(store, "default", value.key, value).outcome == "created"


def test_an_upload_under_which_the_bytes_are_deleted_is_refused(store: Store, clock: Later) -> None:
    """The frame rests, and is deleted before its row is written."""
    data = b"payload" * 100
    digest = put(store, data)
    gc(store, clock.now)

    class Slow:
        """A place where a collector passes between the bytes and the row."""

        def __getattr__(self, name: str) -> object:
            return getattr(store.blobs, name)

        def put(self, *arguments: object) -> object:
            found = store.blobs.put(*arguments)  # type: ignore[arg-type]
            store.blobs.delete(digest)
            return found

    with store.catalog.write() as connection:
        assert take_promise_back(connection, digest, clock.now)
    with pytest.raises(StorageFailed, match="send it again"):
        put(replace(store, blobs=Slow()), data)
    assert put(store, data) == digest
    gc(store, clock.after(days=0.1))
    assert find_blob(store, digest).size == len(data)


def test_what_an_earlier_release_names_in_the_middle_of_a_deletion_stays(store: Store, clock: Later) -> None:
    """It holds nothing that it names: the promise is taken back already when its artifact's row comes."""
    data = b"payload" * 100
    digest = put(store, data)
    gc(store, clock.now)
    with store.catalog.write() as connection:
        row = dict(connection.execute(select(blob).where(blob.c.digest == digest)).one()._mapping)
    value = artifact([descriptor(data)])
    publish_artifact(store, "default", value.key, value)
    with store.catalog.write() as connection:
        connection.execute(update(blob).where(blob.c.digest == digest).values(**{**row, "state": DELETING}))
    gc(store, clock.after(days=2))
    assert find_blob(store, digest).size == len(data), "who reads it finds out that it is whole"
    assert is_there(store, value.key)
    assert check(store) == 0
