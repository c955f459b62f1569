"""Sends what the local cache has and the store lacks: after an outage, or to another store."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from typing import TypeVar

from msgspec import Struct

from inductory_client.cas import LocalCas
from inductory_client.contract.errors import ArtifactMissing, BlobMissing, InductoryError
from inductory_client.contract.manifest import Manifest
from inductory_client.contract.wire import BATCH_MAX, Artifact, ArtifactWanted, Resolve
from inductory_client.transport import HttpStore
from inductory_client.trust import Keyring

from .store_access import blob_deadline

T = TypeVar("T")


class Refusal(Struct, frozen=True):
    """Something that the store doesn't take, and why."""

    name: str
    """The key of an artifact or a build, or a manifest's id."""
    why: str


class CachePushReport(Struct, frozen=True, kw_only=True):
    """What became of what lies here."""

    artifacts: int
    known: int
    sent: int
    incomplete: int
    """Neither known to the store nor whole here: artifacts and manifests."""
    manifests: int
    """Those that are at the store now."""
    builds: int
    other_namespaces: int
    """Builds that were published into another namespace; they aren't sent."""
    refused: tuple[Refusal, ...]
    untrusted: tuple[str, ...]
    """Signers of what the store keeps in place of ours, and whom this machine doesn't trust."""
    blobs_sent: int
    blob_bytes: int
    """Bytes that travelled, packed."""


class CachePush:
    """One push. Idempotent; whenever it ends, the store has no name without bytes."""

    def __init__(
        self, cas: LocalCas, store: HttpStore, keyring: Keyring, progress: Callable[[str], None]
    ) -> None:
        self._cas = cas
        self._keyring = keyring
        self._store = store
        self._progress = progress
        self._sent = 0
        self._incomplete = 0
        self._manifests: set[str] = set()
        self._builds: set[str] = set()
        self._elsewhere: set[str] = set()
        self._refused: list[Refusal] = []
        self._signers: set[str] = set()
        self._blobs_sent = 0
        self._blob_bytes = 0

    def run(self) -> CachePushReport:
        """Send everything. What the store refuses costs only itself. Raises what stands for an outage."""
        self._store.ready()
        artifacts = list(self._cas.artifacts())
        unknown = list(self._unknown(artifacts))
        for count, artifact in enumerate(unknown, 1):
            self._progress(f"artifact {count} of {len(unknown)}")
            self._sent += self._try(self._send, artifact, artifact.key)
        self._send_names()
        return CachePushReport(
            artifacts=len(artifacts),
            known=len(artifacts) - len(unknown),
            sent=self._sent,
            incomplete=self._incomplete,
            manifests=len(self._manifests),
            builds=len(self._builds),
            other_namespaces=len(self._elsewhere),
            refused=tuple(self._refused),
            untrusted=tuple(sorted(each for each in self._signers if not self._keyring.trusts(each))),
            blobs_sent=self._blobs_sent,
            blob_bytes=self._blob_bytes,
        )

    def _unknown(self, artifacts: list[Artifact]) -> Iterator[Artifact]:
        """Yield the artifacts that the store lacks."""
        for start in range(0, len(artifacts), BATCH_MAX):
            batch = artifacts[start : start + BATCH_MAX]
            wanted = tuple(ArtifactWanted(key=artifact.key) for artifact in batch)
            found = self._store.resolve(Resolve(artifacts=wanted, inline_bytes_max=0))
            self._signers.update(hit.signature.signer for hit in found.hits)
            missed = {miss.key for miss in found.misses}
            yield from (artifact for artifact in batch if artifact.key in missed)

    def _send_names(self) -> None:
        """Send manifests and builds; those whose artifacts aren't at the store are incomplete."""
        for names in sorted(self._cas.published(), key=lambda names: names.manifest is None):
            manifest, build = names.manifest, names.build
            if build is not None and build.namespace != self._store.namespace:
                self._elsewhere.add(build.key)
                continue
            self._progress(f"manifest {len(self._manifests) + 1}")
            if manifest is not None and not self._has_manifest(manifest):
                continue
            if build is not None and self._try(self._store.put_build, build, build.key):
                self._builds.add(build.key)

    def _has_manifest(self, manifest: Manifest) -> bool:
        """Whether the store has it now."""
        name = manifest.id
        if name not in self._manifests and self._try(self._send_manifest, manifest, name):
            self._manifests.add(name)
        return name in self._manifests

    def _send(self, artifact: Artifact) -> None:
        self._send_blobs(each.digest for each in artifact.subject.descriptors)
        self._signers.add(self._store.put_artifact(artifact).signer)

    def _send_manifest(self, manifest: Manifest) -> None:
        self._send_blobs(each.digest for each in (*manifest.documents, *manifest.files))
        self._store.put_manifest(manifest)

    def _send_blobs(self, digests: Iterable[str]) -> None:
        """Send the blobs that the store lacks: all of them, or none. Raises BlobMissing."""
        blobs = {digest: self._cas.get(digest) for digest in self._store.missing_blobs(digests)}
        for digest, data in blobs.items():
            if data is None:
                raise BlobMissing(f"blob {digest} is neither there nor here")
        for digest, data in blobs.items():
            assert data is not None
            self._blob_bytes += self._store.put_blob(digest, data, blob_deadline(len(data)))
            self._blobs_sent += 1

    def _try(self, send: Callable[[T], object], item: T, name: str) -> bool:
        """Whether it was sent. What isn't whole is counted, what is refused is listed."""
        try:
            send(item)
        except (ArtifactMissing, BlobMissing):
            self._incomplete += 1
            return False
        except InductoryError as error:
            if error.retryable or error.status >= 500:
                raise
            self._refused.append(Refusal(name, error.message))
            return False
        return True
