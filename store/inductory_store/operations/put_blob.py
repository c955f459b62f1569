"""Receiving a blob."""

from __future__ import annotations

from collections.abc import Iterable
from typing import TypeGuard

from inductory_client.contract.errors import TooLarge

from inductory_store.blobs.unpacking import packed_from, verified
from inductory_store.catalog.blobs import BlobRow, KnownBlob, find_row
from inductory_store.settings import GRACE_S_MIN
from inductory_store.store import Store

from .promise import promise, renew


def put_blob(store: Store, digest: str, size: int, chunks: Iterable[bytes], *, packed: bool) -> bool:
    """Keep a blob of `size` bytes that arrives in chunks, as a zstd frame or as it is; say whether it is new.

    The bytes are verified while they arrive, and promised in the catalog only once they rest. A failure
    leaves nothing. Idempotent; writers of one blob may race. Raises what BlobStore.put raises, and
    StorageFailed where the blob was deleted meanwhile.
    """
    if size > store.settings.blob_bytes_max:
        raise TooLarge(f"a blob may have {store.settings.blob_bytes_max} bytes, not {size}")
    frame = chunks if packed else packed_from(chunks, size)
    known = _known(store, digest)
    if _rests(known, store):
        # Read to the end all the same: whoever sends other bytes under this name must be told.
        for _ in verified(frame, digest, size):
            pass
        _keep_on(store, known)
        return False
    began = store.clock()
    stat = store.blobs.put(digest, size, frame)
    # Only what has a row is ever deleted, and that takes a grace from when it got it.
    may_be_gone = known is not None or not 0 <= store.clock() - began < GRACE_S_MIN / 2
    promise(store, BlobRow(digest, size, stat.packed_size), look=may_be_gone)
    return True


def is_there(store: Store, digest: str) -> bool:
    """Say whether a blob is promised, and something rests under its name; it then awaits deletion no longer.

    Raises StorageFailed where it was deleted meanwhile.
    """
    known = _known(store, digest)
    if not _rests(known, store):
        return False
    _keep_on(store, known)
    return True


def _known(store: Store, digest: str) -> KnownBlob | None:
    with store.catalog.read() as connection:
        return find_row(connection, digest)


def _rests(known: KnownBlob | None, store: Store) -> TypeGuard[KnownBlob]:
    return known is not None and known.promised and store.blobs.stat(known.row.digest) is not None


def _keep_on(store: Store, known: KnownBlob) -> None:
    if known.row.condemned:
        renew(store, known.row.digest)
