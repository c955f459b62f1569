"""Answering many keys at once: what is there, and for what isn't, what comes nearest."""

from __future__ import annotations

from collections.abc import Iterable

from inductory_client.contract import wire
from inductory_client.contract.artifact import Artifact
from inductory_client.contract.errors import TooLarge
from inductory_client.contract.target import FactorDifference, Target
from inductory_client.contract.target import differences as target_differences
from inductory_client.contract.wire import ArtifactWanted, Miss, Nearest, Resolve, Resolved

from inductory_store.catalog.artifacts import Candidate, artifact_records, nearest_candidates
from inductory_store.catalog.blobs import BlobRow, ready_blobs
from inductory_store.catalog.targets import targets
from inductory_store.store import Store

from .get_blob import small_packed

_MARGIN_BYTES = 1 << 20
"""Room in an answer for its misses and its punctuation."""


def resolve(store: Store, namespace: str, asked: Resolve) -> Resolved:
    """Return the artifacts that are there, with their small blobs, and explain the others; four queries."""
    wanted = tuple({each.key: each for each in asked.artifacts}.values())
    with store.catalog.read() as connection:
        records = artifact_records(connection, namespace, [each.key for each in wanted])
        hits = {key: wire.decode(record, Artifact) for key, record in records.items()}
        digests = {descriptor.digest for hit in hits.values() for descriptor in hit.subject.loaded}
        rows = ready_blobs(connection, digests)
    room = wire.MESSAGE_BYTES_MAX - _MARGIN_BYTES - sum(map(len, records.values()))
    if room < 0:
        raise TooLarge("the artifacts don't fit one answer; ask for fewer")
    # Base64 makes four bytes of three.
    budget = min(store.settings.inline_bytes_total_max, room * 3 // 4)
    blobs, lost = _inline(store, rows.values(), asked.inline_bytes_max, budget)
    hits = {
        key: hit for key, hit in hits.items() if lost.isdisjoint(each.digest for each in hit.subject.loaded)
    }
    missed = [each for each in wanted if each.key not in hits]
    return Resolved(
        hits=tuple(hits[each.key] for each in wanted if each.key in hits),
        misses=_explained(store, namespace, missed, asked.target),
        blobs=blobs,
    )


def _inline(
    store: Store, rows: Iterable[BlobRow], bytes_max: int, budget: int
) -> tuple[dict[str, bytes], set[str]]:
    """Return small blobs, the smallest first, as long as they fit, and the digests of lost ones."""
    blobs: dict[str, bytes] = {}
    lost: set[str] = set()
    for row in sorted(rows, key=lambda row: (row.packed_size, row.digest)):
        if row.packed_size > min(bytes_max, budget):
            break
        frame = small_packed(store, row)
        if frame is None:
            lost.add(row.digest)
        elif len(frame) <= min(bytes_max, budget):
            blobs[row.digest] = frame
            budget -= len(frame)
    return blobs, lost


def _explained(
    store: Store, namespace: str, missed: list[ArtifactWanted], target: Target | None
) -> tuple[Miss, ...]:
    graphs = {each.graph_digest for each in missed if each.graph_digest is not None}
    if not graphs:
        return tuple(Miss(key=each.key) for each in missed)
    with store.catalog.read() as connection:
        candidates = nearest_candidates(connection, namespace, graphs)
        theirs = targets(connection, {each.target for found in candidates.values() for each in found})
    return tuple(
        Miss(key=each.key, nearest=_nearest(candidates.get(each.graph_digest or "", []), theirs, target))
        for each in missed
    )


def _nearest(candidates: list[Candidate], theirs: dict[str, Target], ours: Target | None) -> Nearest | None:
    """Return the candidate that differs in the fewest factors; the newest of equals."""
    compared: list[tuple[Candidate, tuple[FactorDifference, ...]]] = [
        (each, () if ours is None else target_differences(ours, theirs[each.target])) for each in candidates
    ]
    if not compared:
        return None
    best, differing = min(compared, key=lambda pair: len(pair[1]))
    return Nearest(key=best.key, differences=differing)
