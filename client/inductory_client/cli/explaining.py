"""Explaining misses: the nearest artifact to each, from the store and the local cache, and what differs."""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterable, Iterator, Sequence
from itertools import groupby, islice
from typing import TypeVar

from msgspec import Struct

from inductory_client.cas import LocalCas
from inductory_client.contract.artifact import Artifact
from inductory_client.contract.errors import InductoryError
from inductory_client.contract.target import FactorDifference, Target, differences
from inductory_client.contract.wire import DIFFERENCES_MAX, ArtifactWanted, BuildSummary, Nearest, Resolve
from inductory_client.misses import Missed, Noted, key_differences
from inductory_client.transport import HttpStore

from .store_access import all_builds
from .volatile import Verdict, verdicts

RESOLVED_AT_ONCE = 100
"""Artifacts in one answer of the store: records are some ten KB each, and an answer has a bound."""
BUILDS_MAX = 8
"""Most builds of a model that are compared: the newest, one a target."""

T = TypeVar("T")


class Explained(Struct, frozen=True, kw_only=True):
    """A miss, and what comes nearest to what was wanted."""

    missed: Missed
    target: Target
    there: Artifact | None
    """What is there by now under the key; unchecked, to be told only."""
    nearest: str | None
    """Key of the artifact that the differences are of; None where there is none of the same graph."""
    nearest_artifact: Artifact | None
    """None also where it can't be had any more."""
    differences: tuple[Verdict, ...]
    """From what was wanted to the nearest."""
    complete: bool
    """Whether these are all; else there may be more, and long values are cut."""


class BuildThere(Struct, frozen=True):
    """A build that the store has, and in what its target differs from this node's."""

    build: BuildSummary
    differences: tuple[Verdict, ...] | None
    """None where no target of this node is known."""


class Explaining:
    """Looks for what comes nearest. An error of the store ends its being asked, and is kept."""

    def __init__(self, cas: LocalCas, store: HttpStore | None, progress: Callable[[str], None]) -> None:
        self.error: InductoryError | None = None
        self._cas = cas
        self._store = store
        self._progress = progress

    def explain(self, noted: Sequence[Noted]) -> list[Explained]:
        """Explain misses, in their order. Never raises for the store."""
        there, nearest = self._look(noted)
        for each in noted:
            # What the store said then counts: since then this node has published the artifact itself.
            if each.missed.nearest is not None:
                nearest[each.missed.key] = each.missed.nearest
        if self._store is None or self.error is not None:
            self._look_here([each for each in noted if each.missed.key not in nearest], nearest)
        artifacts = self.artifacts({each.key for each in nearest.values()})
        return [_explained(each, there.get(each.missed.key), nearest, artifacts) for each in noted]

    def artifacts(self, keys: Iterable[str]) -> dict[str, Artifact]:
        """Return those of the artifacts that are here or at the store, unchecked."""
        found: dict[str, Artifact] = {}
        left: list[ArtifactWanted] = []
        for key in sorted(set(keys)):
            artifact = self.here(key)
            if artifact is None:
                left.append(ArtifactWanted(key=key))
            else:
                found[key] = artifact
        for batch in _batches(left):
            hits, _ = self._resolve(batch, None)
            found |= hits
        return found

    def here(self, key: str) -> Artifact | None:
        """Return the artifact that lies in the local cache under its key, unchecked."""
        try:
            artifact = self._cas.artifact(key)
            return artifact if artifact is not None and artifact.key == key else None
        except InductoryError:  # it has no key of its own
            return None

    def keys_here(self, beginning: str) -> list[str]:
        """Return the keys of artifacts in the local cache that begin so."""
        return [key for key in self._cas.artifact_keys() if key.startswith(beginning)]

    def builds(self, model: str, targets: Collection[Target]) -> list[BuildThere]:
        """Return the store's builds of a model, and in what their targets differ from the nearest of
        `targets`. Never raises for the store.
        """
        if self._store is None or self.error is not None:
            return []
        self._progress(f"asking {self._store.url} for builds of {model}")
        try:
            of_model = [build for build in all_builds(self._store) if build.model == model]
            of_model.sort(key=lambda build: build.created_at, reverse=True)
            newest = {build.target: build for build in reversed(of_model)}.values()
            chosen = sorted(newest, key=lambda build: build.created_at, reverse=True)
            return [self._compared(self._store, build, targets) for build in islice(chosen, BUILDS_MAX)]
        except InductoryError as error:
            self.error = error
            return []

    def _compared(self, store: HttpStore, build: BuildSummary, targets: Iterable[Target]) -> BuildThere:
        found = fewest_differences(targets, store.get_build(build.key).target)
        return BuildThere(build, None if found is None else verdicts(found))

    def _look(self, noted: Sequence[Noted]) -> tuple[dict[str, Artifact], dict[str, Nearest]]:
        """Return what is there by now, and what comes nearest to the rest, by key."""
        keys = [each.missed.key for each in noted]
        there = {key: artifact for key in keys if (artifact := self.here(key)) is not None}
        nearest: dict[str, Nearest] = {}
        left = sorted(
            (each for each in noted if each.missed.key not in there),
            key=lambda each: each.target.fingerprint,
        )
        for _, alike in groupby(left, key=lambda each: each.target.fingerprint):
            for batch in _batches(list(alike)):
                wanted = [
                    ArtifactWanted(key=each.missed.key, graph_digest=each.missed.graph_digest)
                    for each in batch
                ]
                hits, found = self._resolve(wanted, batch[0].target)
                there |= hits
                nearest |= found
        return there, nearest

    def _resolve(
        self, wanted: Sequence[ArtifactWanted], target: Target | None
    ) -> tuple[dict[str, Artifact], dict[str, Nearest]]:
        """Ask the store, unless it failed before. Only what was asked is taken from the answer."""
        if self._store is None or self.error is not None:
            return {}, {}
        self._progress(f"asking {self._store.url} for {len(wanted)} artifacts")
        try:
            answer = self._store.resolve(Resolve(artifacts=tuple(wanted), target=target, inline_bytes_max=0))
            keys = {each.key for each in wanted}
            hits = {key: hit for hit in answer.hits if (key := hit.key) in keys}
        except InductoryError as error:
            self.error = error
            return {}, {}
        return hits, {each.key: each.nearest for each in answer.misses if each.nearest and each.key in keys}

    def _look_here(self, noted: Sequence[Noted], nearest: dict[str, Nearest]) -> None:
        """Find in the local cache what comes nearest, as the store would: that with the fewest factors."""
        graphs = {each.missed.graph_digest for each in noted} - {None}
        if not graphs:
            return
        self._progress(f"reading {self._cas.root}")
        kin = [each for each in self._cas.artifacts() if each.subject.graph_digest in graphs]
        for each in noted:
            candidates = [
                (len(differences(each.target, artifact.subject.target)), artifact.key)
                for artifact in kin
                if artifact.subject.graph_digest == each.missed.graph_digest
                and artifact.key != each.missed.key
            ]
            if candidates:
                nearest[each.missed.key] = Nearest(key=min(candidates)[1], differences=())


def _explained(
    noted: Noted, there: Artifact | None, nearest: dict[str, Nearest], artifacts: dict[str, Artifact]
) -> Explained:
    missed = noted.missed
    told = nearest.get(missed.key)
    artifact = None if told is None else artifacts.get(told.key)
    if artifact is not None:
        found, complete = key_differences(missed.parts, noted.target, artifact.subject), True
    elif told is not None:
        found, complete = told.differences, 0 < len(told.differences) < DIFFERENCES_MAX
    else:
        found, complete = (), True
    return Explained(
        missed=missed,
        target=noted.target,
        there=there,
        nearest=None if told is None else told.key,
        nearest_artifact=artifact,
        differences=verdicts(found),
        complete=complete,
    )


def fewest_differences(targets: Iterable[Target], theirs: Target) -> tuple[FactorDifference, ...] | None:
    """Return in what the one of `targets` that is nearest to `theirs` differs; None where there are none."""
    compared = [differences(ours, theirs) for ours in targets]
    return min(compared, key=len, default=None)


def _batches(items: Sequence[T]) -> Iterator[Sequence[T]]:
    for start in range(0, len(items), RESOLVED_AT_ONCE):
        yield items[start : start + RESOLVED_AT_ONCE]
