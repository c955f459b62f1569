"""Sends what the local cache has and the store lacks: after an outage, or to another store."""

from __future__ import annotations

from collections.abc import Callable, Iterator

from msgspec import Struct

from inductory_client.cas import LocalCas
from inductory_client.contract.wire import BATCH_MAX, Artifact, ArtifactWanted, Resolve
from inductory_client.deadline import Deadline
from inductory_client.transport import HttpStore

BLOB_S = 600.0


class CachePushReport(Struct, frozen=True, kw_only=True):
    """What became of the local artifacts."""

    artifacts: int
    known: int
    sent: int
    incomplete: int
    """Neither known to the store nor whole here."""
    blobs_sent: int
    blob_bytes: int
    """Bytes that travelled, packed."""


class CachePush:
    """One push. Idempotent; whenever it ends, the store has no name without bytes."""

    def __init__(self, cas: LocalCas, store: HttpStore, progress: Callable[[str], None]) -> None:
        self._cas = cas
        self._store = store
        self._progress = progress
        self._blobs_sent = 0
        self._blob_bytes = 0

    def run(self) -> CachePushReport:
        """Send everything. Raises what the store raises."""
        artifacts = list(self._cas.artifacts())
        unknown = list(self._unknown(artifacts))
        sent = 0
        for count, artifact in enumerate(unknown, 1):
            self._progress(f"artifact {count} of {len(unknown)}")
            sent += self._send(artifact)
        return CachePushReport(
            artifacts=len(artifacts),
            known=len(artifacts) - len(unknown),
            sent=sent,
            incomplete=len(unknown) - sent,
            blobs_sent=self._blobs_sent,
            blob_bytes=self._blob_bytes,
        )

    def _unknown(self, artifacts: list[Artifact]) -> Iterator[Artifact]:
        """Yield the artifacts that the store lacks."""
        for start in range(0, len(artifacts), BATCH_MAX):
            batch = artifacts[start : start + BATCH_MAX]
            wanted = tuple(ArtifactWanted(key=artifact.key) for artifact in batch)
            missed = {
                miss.key for miss in self._store.resolve(Resolve(artifacts=wanted, inline_bytes_max=0)).misses
            }
            yield from (artifact for artifact in batch if artifact.key in missed)

    def _send(self, artifact: Artifact) -> bool:
        """Send one artifact, blobs first; False where some of them are neither there nor here."""
        descriptors = {each.digest: each for each in artifact.subject.descriptors}
        missing = self._store.missing_blobs(descriptors)
        blobs = {digest: self._cas.get(digest) for digest in missing}
        if any(data is None for data in blobs.values()):
            return False
        for digest, data in blobs.items():
            assert data is not None
            self._blob_bytes += self._store.put_blob(digest, data, Deadline(BLOB_S))
            self._blobs_sent += 1
        self._store.put_artifact(artifact)
        return True
