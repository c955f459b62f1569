"""Receiving a blob."""

from __future__ import annotations

from collections.abc import Iterable

from inductory_client.contract.errors import TooLarge

from inductory_store.blobs.unpacking import packed_from, verified
from inductory_store.catalog.blobs import BlobRow, add_blob, ready_blobs
from inductory_store.store import Store


def put_blob(store: Store, digest: str, size: int, chunks: Iterable[bytes], *, packed: bool) -> bool:
    """Keep a blob of `size` bytes that arrives in chunks, as a zstd frame or as it is; say whether it is new.

    The bytes are verified while they arrive, and promised in the catalog only once they rest. A failure
    leaves nothing. Idempotent; writers of one blob may race. Raises what BlobStore.put raises.
    """
    if size > store.settings.blob_bytes_max:
        raise TooLarge(f"a blob may have {store.settings.blob_bytes_max} bytes, not {size}")
    frame = chunks if packed else packed_from(chunks, size)
    if is_there(store, digest):
        # Read to the end all the same: whoever sends other bytes under this name must be told.
        for _ in verified(frame, digest, size):
            pass
        return False
    stat = store.blobs.put(digest, size, frame)
    with store.catalog.write() as connection:
        add_blob(connection, BlobRow(digest, size, stat.packed_size), store.clock())
    return True


def is_there(store: Store, digest: str) -> bool:
    """Say whether a blob is promised, and something rests under its name."""
    with store.catalog.read() as connection:
        promised = digest in ready_blobs(connection, [digest])
    return promised and store.blobs.stat(digest) is not None
