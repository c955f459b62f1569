"""Promising a blob whose bytes rest, never one whose bytes were deleted meanwhile."""

from __future__ import annotations

from inductory_client.contract.errors import StorageFailed

from inductory_store.catalog.blobs import BlobRow, add_blob, renew_promises
from inductory_store.store import Store

_GONE = "the blob was deleted meanwhile; send it again"


def promise(store: Store, row: BlobRow, *, look: bool) -> None:
    """Promise a blob that was put or found whole. With `look` its bytes are looked for once more.

    That is for what may have been deleted since: whoever deletes bytes holds the blob's row meanwhile, so
    what is there while this holds it stays. Raises StorageFailed where they are gone, and promises nothing.
    """
    with store.catalog.write() as connection:
        add_blob(connection, row, store.clock())
        if look and store.blobs.stat(row.digest) is None:
            raise StorageFailed(_GONE)


def renew(store: Store, digest: str) -> None:
    """Let a promised blob await deletion no longer. Raises StorageFailed where it isn't promised any more."""
    with store.catalog.write() as connection:
        if not renew_promises(connection, [digest]):
            raise StorageFailed(_GONE)
