"""Explaining misses: which artifact of the same graph comes nearest, and in what it differs."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from inductory_client.contract import wire
from inductory_client.contract.target import FactorDifference, Target, differences
from inductory_client.contract.wire import ArtifactWanted, Miss, Nearest
from sqlalchemy import Connection

from inductory_store.catalog.artifacts import Candidate, nearest_candidates
from inductory_store.catalog.targets import each_target

TARGETS_MAX = 64
"""Targets that one answer compares with the asker's: the commonest among the candidates."""
VALUE_CHARS_MAX = 200
"""A longer value is cut: whoever reads it wants to know which factor it is, and how it begins."""


@dataclass(frozen=True)
class Comparison:
    """In how many factors a target differs, and in which, as far as it is told."""

    count: int
    told: tuple[FactorDifference, ...]


def explain(
    connection: Connection,
    namespace: str,
    missed: Sequence[ArtifactWanted],
    ours: Target | None,
    bytes_max: int,
) -> tuple[Miss, ...]:
    """Return the misses, each with what comes nearest while `bytes_max` bytes of JSON last; two queries."""
    graphs = {each.graph_digest for each in missed if each.graph_digest is not None}
    if not graphs:
        return tuple(Miss(key=each.key) for each in missed)
    candidates = nearest_candidates(connection, namespace, graphs)
    compared = _compare(connection, candidates, ours)
    found = {graph: _nearest(each, compared) for graph, each in candidates.items()}
    sizes = {graph: len(wire.encode(nearest)) for graph, nearest in found.items()}
    misses: list[Miss] = []
    for each in missed:
        bytes_max -= sizes.get(each.graph_digest or "", 0)
        nearest = found.get(each.graph_digest or "") if bytes_max >= 0 else None
        misses.append(Miss(key=each.key, nearest=nearest))
    return tuple(misses)


def compare(ours: Target, theirs: Target) -> Comparison:
    """Return the difference between two targets, short enough to travel with every miss."""
    differing = differences(ours, theirs)
    told = (
        FactorDifference(each.name, _short(each.ours), _short(each.theirs))
        for each in differing[: wire.DIFFERENCES_MAX]
    )
    return Comparison(len(differing), tuple(told))


def _compare(
    connection: Connection, candidates: Mapping[str, Sequence[Candidate]], ours: Target | None
) -> dict[str, Comparison]:
    """Compare each target once, however many artifacts were made for it."""
    counts = Counter(each.target for found in candidates.values() for each in found)
    if ours is None:
        return {target: Comparison(0, ()) for target in counts}
    chosen = [target for target, _ in counts.most_common(TARGETS_MAX)]
    return {target: compare(ours, theirs) for target, theirs in each_target(connection, chosen)}


def _nearest(candidates: Sequence[Candidate], compared: Mapping[str, Comparison]) -> Nearest | None:
    """Return the candidate that differs in the fewest factors; the newest of equals."""
    known = [each for each in candidates if each.target in compared]
    if not known:
        return None
    best = min(known, key=lambda each: compared[each.target].count)
    return Nearest(key=best.key, differences=compared[best.target].told)


def _short(value: str | None) -> str | None:
    if value is None or len(value) <= VALUE_CHARS_MAX:
        return value
    return value[: VALUE_CHARS_MAX - 1] + "…"
