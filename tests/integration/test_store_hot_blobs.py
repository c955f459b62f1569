"""Large blobs that many ask for: read and verified once, and only while they are whole."""

from __future__ import annotations

import random
from collections.abc import Iterator
from pathlib import Path

import pytest
from inductory_client.contract.blob import pack
from inductory_client.contract.digest import digest_of
from inductory_client.contract.errors import NotFound, StorageFailed
from inductory_store.blobs.memory import MemoryBlobs
from inductory_store.catalog.blobs import BlobRow
from inductory_store.catalog.catalog import Catalog
from inductory_store.catalog.migrate import upgrade
from inductory_store.operations.get_blob import KEPT_BYTES_MIN, find_blob, read_hot
from inductory_store.operations.put_blob import put_blob
from inductory_store.settings import StoreSettings
from inductory_store.store import Store
from store_process import Database


@pytest.fixture
def store(tmp_path: Path, database: Database) -> Iterator[Store]:
    settings = StoreSettings.load(database, data_dir=tmp_path)
    catalog = Catalog(settings.catalog_url)
    upgrade(catalog.engine)
    yield Store(settings, catalog, MemoryBlobs())
    catalog.close()


def kept(store: Store, size: int) -> tuple[BlobRow, bytes]:
    """Upload a blob that doesn't shrink; return its row and its frame."""
    data = random.Random(size).randbytes(size)
    put_blob(store, digest_of(data), len(data), [pack(data)], packed=True)
    return find_blob(store, digest_of(data)), pack(data)


def test_a_large_blob_comes_from_memory_the_second_time(store: Store) -> None:
    row, frame = kept(store, KEPT_BYTES_MIN)
    assert read_hot(store, row) == (frame, len(frame))
    store.blobs.delete(row.digest)
    assert read_hot(store, row) == (frame, len(frame))


def test_a_small_one_does_not(store: Store) -> None:
    row, frame = kept(store, KEPT_BYTES_MIN // 2)
    assert read_hot(store, row) == (frame, len(frame))
    store.blobs.delete(row.digest)
    with pytest.raises(StorageFailed):
        read_hot(store, row)


def test_what_is_in_memory_is_forgotten_once_anything_is_found_lost(store: Store) -> None:
    large, _ = kept(store, KEPT_BYTES_MIN)
    small, _ = kept(store, 1000)
    read_hot(store, large)
    for each in (large, small):
        store.blobs.delete(each.digest)
    for each in (small, large):
        with pytest.raises(StorageFailed):
            read_hot(store, each)
    with pytest.raises(NotFound):
        find_blob(store, large.digest)
