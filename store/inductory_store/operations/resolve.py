"""Answering many keys at once: what is there, and for what isn't, what comes nearest."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from contextlib import closing
from functools import partial

from inductory_client.contract import wire
from inductory_client.contract.artifact import Artifact
from inductory_client.contract.wire import Message, Miss, Resolve
from msgspec import Raw

from inductory_store.catalog.artifacts import artifact_records
from inductory_store.catalog.blobs import BlobRow, ready_blobs
from inductory_store.catalog.hits import HITS_AT_ONCE
from inductory_store.store import Store

from .ahead import read_ahead
from .explain import explain
from .get_blob import small_packed

_MARGIN_BYTES = 1 << 20
"""Room in an answer for the keys of its misses and its punctuation."""
_EXPLAINED_BYTES_MAX = 1 << 20
"""Room in an answer for what comes nearest to its misses."""
_RECORDS_BYTES_MAX = wire.MESSAGE_BYTES_MAX - _MARGIN_BYTES - _EXPLAINED_BYTES_MAX


class ResolvedRecords(Message, frozen=True):
    """`Resolved`, with its artifacts as they are kept: they were read when they were published."""

    hits: tuple[Raw, ...]
    misses: tuple[Miss, ...]
    blobs: dict[str, bytes]


def resolve(store: Store, namespace: str, asked: Resolve) -> ResolvedRecords:
    """Return the artifacts that are there, with their small blobs, and explain the others.

    One query for a few hits, two for many; two more where something is missed.

    The answer fits one message: raises TooLarge where the artifacts don't, and explains fewer misses.
    """
    wanted = tuple({each.key: each for each in asked.artifacts}.values())
    records, rows = _found(store, namespace, [each.key for each in wanted])
    room = _RECORDS_BYTES_MAX - sum(map(len, records.values()))
    # Base64 makes four bytes of three.
    budget = min(store.settings.inline_bytes_total_max, room * 3 // 4)
    blobs, lost = _inline(store, rows.values(), asked.inline_bytes_max, budget)
    if lost:
        records = {key: record for key, record in records.items() if lost.isdisjoint(_loaded(record))}
    store.uses.add("artifact", namespace, records)
    missed = [each for each in wanted if each.key not in records]
    misses: tuple[Miss, ...] = ()
    if missed:
        with store.catalog.read() as connection:
            misses = explain(connection, namespace, missed, asked.target, _EXPLAINED_BYTES_MAX)
    return ResolvedRecords(
        hits=tuple(Raw(records[each.key]) for each in wanted if each.key in records),
        misses=misses,
        blobs=blobs,
    )


def _found(
    store: Store, namespace: str, keys: Sequence[str]
) -> tuple[Mapping[str, bytes], Mapping[str, BlobRow]]:
    """Return the records of whole artifacts by key, and the rows of what they load by digest."""
    if len(keys) <= HITS_AT_ONCE:
        return store.hits.of(namespace, keys, bytes_max=_RECORDS_BYTES_MAX)
    with store.catalog.read() as connection:
        records = artifact_records(connection, namespace, keys, bytes_max=_RECORDS_BYTES_MAX)
        loaded = set().union(*map(_loaded, records.values()))
        return records, ready_blobs(connection, loaded)


def _loaded(record: bytes) -> set[str]:
    """Return the digests of what a load of an artifact reads."""
    return {each.digest for each in wire.decode(record, Artifact).subject.loaded}


def _inline(
    store: Store, rows: Iterable[BlobRow], bytes_max: int, budget: int
) -> tuple[dict[str, bytes], set[str]]:
    """Return small blobs, the smallest first, as long as they fit, and the digests of lost ones."""
    blobs: dict[str, bytes] = {}
    lost: set[str] = set()
    room = min(bytes_max, budget)
    small = sorted(
        (row for row in rows if row.packed_size <= room), key=lambda row: (row.packed_size, row.digest)
    )
    with closing(read_ahead(partial(small_packed, store), small)) as frames:
        for row, frame in zip(small, frames, strict=False):
            if frame is None:
                lost.add(row.digest)
            elif len(frame) <= min(bytes_max, budget):
                blobs[row.digest] = frame
                budget -= len(frame)
            else:
                break
    return blobs, lost
