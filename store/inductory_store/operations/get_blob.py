"""Reading a blob, never wrong bytes."""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterator
from typing import BinaryIO

from inductory_client.contract.errors import InductoryError, NotFound, StorageFailed
from inductory_client.contract.wire import DIRECT_BYTES_MIN

from inductory_store.blobs.store import DirectUrls
from inductory_store.blobs.unpacking import unpacked, verified
from inductory_store.catalog.blobs import BlobRow, mark_damaged, ready_blobs
from inductory_store.store import Store

from .chunks import chunks_of
from .recover import recover

AHEAD_BYTES_MAX = 8 << 20
"""Blobs up to this size are verified before their first byte is sent; larger ones before their last."""

KEPT_BYTES_MIN = 256 << 10
"""Smaller frames are read and verified in a moment."""

_log = logging.getLogger(__name__)

Body = bytes | Iterator[bytes]


def find_blob(store: Store, digest: str) -> BlobRow:
    """Return what is promised of a blob. Raises NotFound.

    A blob that was found damaged is looked for again, and read to its end before it is promised again.
    """
    row = _row(store, digest)
    if row is None and recover(store, digest):
        row = _row(store, digest)
    if row is None:
        raise NotFound(f"there is no blob {digest}")
    return row


def packed_size_at_rest(store: Store, digest: str) -> int:
    """Return the length of a promised blob's zstd frame, unread. Raises StorageFailed where it is gone."""
    stat = store.blobs.stat(digest)
    if stat is None:
        raise _lost(store, digest)
    return stat.packed_size


def direct_url(store: Store, row: BlobRow) -> str | None:
    """Return an address that gives a blob's zstd frame, or None where it is to be read through here.

    Raises StorageFailed where the blob is gone: it is noticed now or never, since what another server
    answers isn't seen here.
    """
    if row.packed_size < DIRECT_BYTES_MIN or not isinstance(store.blobs, DirectUrls):
        return None
    packed_size_at_rest(store, row.digest)
    return store.blobs.direct_url(row.digest)


def read_blob(store: Store, digest: str, size: int, start: int, stop: int) -> Body:
    """Return bytes `start` to `stop` (excluded) of a blob that was promised with `size` bytes.

    Wrong bytes are never returned to the end: an iterator raises StorageFailed before its last chunk.
    """
    return _body(store, digest, size, lambda chunks: unpacked(chunks, digest, size, start, stop))


def read_hot(store: Store, row: BlobRow) -> tuple[Body, int]:
    """As `read_packed`; a large frame that others asked for a moment ago comes from memory, verified then."""
    kept = store.frames.get(row.digest)
    if kept is not None:
        return kept, len(kept)
    changes = store.frames.changes
    body, packed_size = read_packed(store, row.digest, row.size)
    if isinstance(body, bytes) and len(body) >= KEPT_BYTES_MIN:
        store.frames.keep(row.digest, body, changes)
    return body, packed_size


def read_packed(store: Store, digest: str, size: int) -> tuple[Body, int]:
    """Return a blob's zstd frame and its length, verified as by `read_blob`."""
    file = _open(store, digest)
    packed_size = file.seek(0, 2)
    file.seek(0)
    return _body(store, digest, size, lambda chunks: verified(chunks, digest, size), file), packed_size


def small_packed(store: Store, row: BlobRow) -> bytes | None:
    """Return the zstd frame of a small blob, verified, or None where it is lost or damaged."""
    try:
        with _open(store, row.digest) as file:
            return b"".join(verified(chunks_of(file), row.digest, row.size))
    except StorageFailed:
        return None
    except InductoryError as error:
        _damaged(store, row.digest, error)
        return None


def _row(store: Store, digest: str) -> BlobRow | None:
    with store.catalog.read() as connection:
        return ready_blobs(connection, [digest]).get(digest)


def _open(store: Store, digest: str) -> BinaryIO:
    try:
        return store.blobs.open(digest)
    except NotFound:
        raise _lost(store, digest) from None


def _body(
    store: Store,
    digest: str,
    size: int,
    read: Callable[[Iterator[bytes]], Iterator[bytes]],
    file: BinaryIO | None = None,
) -> Body:
    body = _guarded(store, digest, read, file or _open(store, digest))
    return b"".join(body) if size <= AHEAD_BYTES_MAX else body


def _guarded(
    store: Store, digest: str, read: Callable[[Iterator[bytes]], Iterator[bytes]], file: BinaryIO
) -> Iterator[bytes]:
    """Yield what `read` makes of the file, close it, and take the promise back where it isn't the blob."""
    with file:
        try:
            yield from read(chunks_of(file))
        except StorageFailed:
            raise
        except InductoryError as error:
            raise _damaged(store, digest, error) from error


def _lost(store: Store, digest: str) -> StorageFailed:
    with store.catalog.write() as connection:
        promised = mark_damaged(connection, digest)
    if promised:  # else it was deleted, or somebody else noticed
        _log.error("blob %s was promised and isn't there", digest)
    store.forget()
    return StorageFailed(f"the bytes of blob {digest} were lost; publish it again")


def _damaged(store: Store, digest: str, error: InductoryError) -> StorageFailed:
    _log.error("blob %s is damaged at rest: %s", digest, error)
    with store.catalog.write() as connection:
        mark_damaged(connection, digest)
    store.forget()
    return StorageFailed(f"the bytes of blob {digest} are damaged; publish it again")
