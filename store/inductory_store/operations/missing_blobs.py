"""Telling a publisher what it must send."""

from __future__ import annotations

from inductory_client.contract.wire import BlobsMissing, BlobsWanted

from inductory_store.catalog.blobs import ready_blobs, renew_promises
from inductory_store.store import Store


def missing_blobs(store: Store, wanted: BlobsWanted) -> BlobsMissing:
    """Return those of the blobs that the store lacks, in the order of the question, once each.

    Those that await deletion are there, and have all of the grace again: who asks is about to name them.
    """
    with store.catalog.read() as connection:
        there = ready_blobs(connection, wanted.digests)
    condemned = [digest for digest, row in there.items() if row.condemned]
    if condemned:
        with store.catalog.write() as connection:
            renewed = renew_promises(connection, condemned)
        for digest in set(condemned) - renewed:
            del there[digest]
    return BlobsMissing(
        missing=tuple(digest for digest in dict.fromkeys(wanted.digests) if digest not in there)
    )
