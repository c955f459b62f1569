"""Scrubbing: whether every promise of the catalog holds, and what rests without one.

It may run beside stores, as often as one likes: what it writes is what a store writes that meets the same.
Nothing is deleted.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from itertools import islice
from typing import Literal

from inductory_client.contract.descriptor import BLOB_BYTES_MAX
from inductory_client.contract.errors import InductoryError, NotFound
from msgspec import Struct

from inductory_store.blobs.unpacking import measured, verified
from inductory_store.catalog.blobs import BlobRow, blobs_after, known_blobs, mark_damaged
from inductory_store.store import Store

from .chunks import chunks_of
from .promise import promise
from .recover import recover

PAGE_BLOBS = 1000

What = Literal["lost", "damaged", "whole", "unpromised", "foreign"]
Progress = Callable[[int, int], None]
"""Called with the blobs and the packed bytes that were looked at so far."""


class Found(Struct, frozen=True):
    """Something that isn't as it should be.

    lost: promised, and not there; damaged: promised, and other bytes; whole: its promise was taken back, and
    it is there; unpromised: whole, and without a row; foreign: without a row, and not the bytes of its name.
    """

    digest: str
    what: What
    repaired: bool = False


class Scrubbed(Struct, frozen=True):
    """What was looked at, and what was found."""

    blobs: int
    """With a row."""
    read_bytes: int
    """Packed."""
    found: tuple[Found, ...]


def scrub(
    store: Store, *, read: bool = True, repair: bool = False, progress: Progress = lambda blobs, size: None
) -> Scrubbed:
    """Look at every blob; without `read` only at whether it is there.

    With `repair` promises that don't hold are taken back, so that the next publisher sends the bytes again,
    and what is whole is promised. What is foreign is left to people. Raises StorageFailed where the place for
    blobs can't be read: nothing is taken for lost then.
    """
    scrubbing = _Scrubbing(store, read, repair, progress)
    scrubbing.rows()
    scrubbing.rest()
    return Scrubbed(scrubbing.blobs, scrubbing.read_bytes, tuple(scrubbing.found))


class _Scrubbing:
    def __init__(self, store: Store, read: bool, repair: bool, progress: Progress) -> None:
        self._store = store
        self._read = read
        self._repair = repair
        self._progress = progress
        self.blobs = self.read_bytes = 0
        self.found: list[Found] = []

    def rows(self) -> None:
        """Look at what has a row."""
        for row, promised in self._rows():
            what = self._promised(row) if promised else self._taken_back(row)
            if what is not None:
                self.found.append(Found(row.digest, what, self._repair))
            self.blobs += 1
            self._progress(self.blobs, self.read_bytes)

    def rest(self) -> None:
        """Look at what rests without a row. An upload may be among it, whose row is just being written."""
        digests = self._store.blobs.list()
        while page := list(islice(digests, PAGE_BLOBS)):
            with self._store.catalog.read() as connection:
                known = known_blobs(connection, page)
            for digest in page:
                if digest not in known:
                    self._unpromised(digest)

    def _rows(self) -> Iterator[tuple[BlobRow, bool]]:
        after = ""
        while True:
            with self._store.catalog.read() as connection:
                page = blobs_after(connection, after, PAGE_BLOBS)
            if not page:
                return
            yield from page
            after = page[-1][0].digest

    def _promised(self, row: BlobRow) -> What | None:
        what = self._state(row) if self._read else self._presence(row)
        if what is not None and self._repair:
            with self._store.catalog.write() as connection:
                mark_damaged(connection, row.digest)
        return what

    def _taken_back(self, row: BlobRow) -> What | None:
        whole = recover(self._store, row.digest) if self._repair else self._state(row) is None
        return "whole" if whole else None

    def _presence(self, row: BlobRow) -> What | None:
        return "lost" if self._store.blobs.stat(row.digest) is None else None

    def _state(self, row: BlobRow) -> What | None:
        try:
            with self._store.blobs.open(row.digest) as file:
                for chunk in verified(chunks_of(file), row.digest, row.size):
                    self.read_bytes += len(chunk)
        except NotFound:
            return "lost"
        except InductoryError as error:
            if error.retryable:
                raise
            return "damaged"
        return None

    def _unpromised(self, digest: str) -> None:
        try:
            with self._store.blobs.open(digest) as file:
                named, size, packed_size = measured(chunks_of(file), BLOB_BYTES_MAX)
        except NotFound:
            return  # somebody removed it just now
        except InductoryError as error:
            if error.retryable:
                raise
            named, size, packed_size = "", 0, 0
        self.read_bytes += packed_size
        if named != digest:
            self.found.append(Found(digest, "foreign"))
            return
        if self._repair:
            promise(self._store, BlobRow(digest, size, packed_size), look=True)
        self.found.append(Found(digest, "unpromised", self._repair))
