"""Collecting in a bucket: as in a folder."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pytest
from bucket import OwnBucket
from inductory_client.contract.blob import pack
from inductory_client.contract.digest import digest_of
from inductory_store.operations.get_blob import read_packed
from inductory_store.serve import migrate, opened
from inductory_store.settings import StoreSettings
from inductory_store.store import Store
from lifetimes import Later, at_rest, check, gc, keep_days, publish
from store_process import Database


@pytest.fixture
def clock() -> Later:
    return Later()


@pytest.fixture
def store(database: Database, bucket: OwnBucket, tmp_path: Path, clock: Later) -> Iterator[Store]:
    settings = StoreSettings.load({**database, **bucket.environ}, data_dir=tmp_path / "data")
    migrate(settings)
    with opened(settings) as store:
        yield replace(store, clock=clock)


def test_a_life_in_a_bucket(store: Store, clock: Later) -> None:
    stray = b"never promised" * 100
    store.blobs.put(digest_of(stray), len(stray), [pack(stray)])
    publish(store, "old")
    clock.after(days=1)
    publish(store, "new")
    keep_days(store, 1)
    before = at_rest(store)
    found = gc(store, clock.after(days=0.5))
    assert [each.kind for each in found.names[0].condemn] == ["build", "manifest", "artifact"]
    assert found.blobs.stray == (digest_of(stray),)
    publish(store, "new")
    found = gc(store, clock.after(days=1))
    assert found.blobs.condemn == (digest_of(b"old" * 100),)
    assert found.blobs.delete == (digest_of(stray),)
    body, _ = read_packed(store, digest_of(b"old" * 100), 300)
    assert body == pack(b"old" * 100)
    publish(store, "new")
    assert gc(store, clock.after(days=1)).blobs.delete == (digest_of(b"old" * 100),)
    assert at_rest(store) == before - {digest_of(stray), digest_of(b"old" * 100)}
    assert check(store) == 1
