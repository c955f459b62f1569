"""Telling a publisher what it must send."""

from __future__ import annotations

from inductory_client.contract.wire import BlobsMissing, BlobsWanted

from inductory_store.catalog.blobs import ready_blobs
from inductory_store.store import Store


def missing_blobs(store: Store, wanted: BlobsWanted) -> BlobsMissing:
    """Return those of the blobs that the store lacks, in the order of the question, once each."""
    with store.catalog.read() as connection:
        there = ready_blobs(connection, wanted.digests)
    return BlobsMissing(
        missing=tuple(digest for digest in dict.fromkeys(wanted.digests) if digest not in there)
    )
