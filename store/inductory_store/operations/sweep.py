"""Sweeping blobs that nothing names, and bytes that nobody promised."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from itertools import islice

from msgspec import Struct

from inductory_store.catalog import deletions
from inductory_store.lifetime.blob_fate import BlobHeld, blob_fate
from inductory_store.store import Store

PAGE_BLOBS = 1000

Progress = Callable[[str], None]


class Swept(Struct, frozen=True):
    """Blobs by what becomes of them."""

    condemn: tuple[str, ...] = ()
    """Nothing names them."""
    stray: tuple[str, ...] = ()
    """Bytes that rest without a row, as an upload leaves them that was killed; they are condemned."""
    rescue: tuple[str, ...] = ()
    """Something names them again."""
    delete: tuple[str, ...] = ()
    """Condemned for longer than the grace."""
    condemned_bytes: int = 0
    deleted_bytes: int = 0
    """Packed."""


def plan_sweep(store: Store, now: float, grace_s: float, progress: Progress) -> Swept:
    """Return what becomes of all blobs; what stays as it is isn't in it."""
    fates: dict[str, list[BlobHeld]] = {"condemn": [], "rescue": [], "delete": [], "keep": []}
    for seen, blob in enumerate(_held(store), 1):
        fates[blob_fate(blob, now, grace_s)].append(blob)
        fates["keep"].clear()
        if seen % PAGE_BLOBS == 0:
            progress(f"{seen} blobs")
    stray = tuple(_without_a_row(store))
    return Swept(
        condemn=_digests(fates["condemn"]),
        stray=stray,
        rescue=_digests(fates["rescue"]),
        delete=_digests(fates["delete"]),
        condemned_bytes=_bytes(fates["condemn"]),
        deleted_bytes=_bytes(fates["delete"]),
    )


def carry_out_sweep(store: Store, planned: Swept, now: float, grace_s: float, progress: Progress) -> Swept:
    """Do what was planned, as far as it still holds, and return what was done."""
    rescued: set[str] = set()
    condemned: set[str] = set()
    for page in _pages(iter(planned.rescue)):
        with store.catalog.write() as connection:
            rescued |= deletions.rescue_blobs(connection, page)
    for page in _pages(iter(planned.condemn)):
        with store.catalog.write() as connection:
            condemned |= deletions.condemn_blobs(connection, page, now)
    stray = tuple(digest for digest in planned.stray if _note_stray(store, digest, now))
    deleted: dict[str, int] = {}
    for at, digest in enumerate(planned.delete):
        progress(f"deleting {at + 1} of {len(planned.delete)} blobs")
        size = delete_blob(store, digest, now - grace_s)
        if size is not None:
            deleted[digest] = size
    return Swept(
        condemn=tuple(digest for digest in planned.condemn if digest in condemned),
        stray=stray,
        rescue=tuple(digest for digest in planned.rescue if digest in rescued),
        delete=tuple(deleted),
        condemned_bytes=planned.condemned_bytes,
        deleted_bytes=sum(deleted.values()),
    )


def delete_blob(store: Store, digest: str, condemned_until: float) -> int | None:
    """Delete a blob that nothing names and that was condemned by then; return its packed bytes, or None where
    that isn't so any more.

    First its promise is taken back, for good: killed after that, it is asked of the next publisher, and the
    next sweep goes on. Then the bytes go, and the row with them, while nobody else can have the row.
    """
    with store.catalog.write() as connection:
        deletions.take_promise_back(connection, digest, condemned_until)
    with store.catalog.write() as connection:
        packed_size = deletions.hold_deleting(connection, digest)
        if packed_size is not None:
            store.blobs.delete(digest)
            deletions.drop_blob(connection, digest)
    return packed_size


def _note_stray(store: Store, digest: str, now: float) -> bool:
    stat = store.blobs.stat(digest)
    if stat is None:
        return False
    with store.catalog.write() as connection:
        return deletions.note_stray(connection, digest, stat.packed_size, now)


def _held(store: Store) -> Iterator[BlobHeld]:
    after = ""
    while True:
        with store.catalog.read() as connection:
            page = deletions.held_after(connection, after, PAGE_BLOBS)
        if not page:
            return
        yield from page
        after = page[-1].digest


def _without_a_row(store: Store) -> Iterator[str]:
    for page in _pages(store.blobs.list()):
        with store.catalog.read() as connection:
            known = deletions.known_rows(connection, page)
        yield from (digest for digest in page if digest not in known)


def _pages(digests: Iterator[str]) -> Iterator[list[str]]:
    while page := list(islice(digests, PAGE_BLOBS)):
        yield page


def _digests(blobs: list[BlobHeld]) -> tuple[str, ...]:
    return tuple(blob.digest for blob in blobs)


def _bytes(blobs: list[BlobHeld]) -> int:
    return sum(blob.packed_size for blob in blobs)
