"""Pull: a whole build into the local CAS, in one stream."""

from __future__ import annotations

import time

from msgspec import Struct

from .cas import LocalCas
from .contract.bundle import BundleIndex
from .contract.descriptor import Descriptor
from .contract.errors import BlobMissing, Corrupt, InductoryError, KeyMismatch, SizeMismatch
from .contract.wire import Artifact, Build, Manifest, decode
from .deadline import Deadline
from .transport import HttpStore
from .trust import Keyring


class PullReport(Struct, frozen=True, kw_only=True):
    """What a pull brought."""

    build: Build
    manifests: tuple[Manifest, ...]
    artifacts: int
    """Recorded, with all that a load of them reads."""
    refused: dict[str, InductoryError]
    """Artifacts that aren't recorded, by key, and why."""
    blobs: int
    bytes_raw: int
    bytes_moved: int
    """Bytes of blobs that travelled, packed."""
    seconds: float


def pull(
    key: str, *, store: HttpStore, cas: LocalCas, keyring: Keyring, deadline: Deadline | None = None
) -> PullReport:
    """Bring what a build's start loads.

    Every frame is verified; an artifact is recorded when its signature is good and all that it loads is here.
    What came whole before the stream broke stays, so that a fetch finds it. Raises what the store raises,
    and Corrupt, KeyMismatch and Malformed where the stream isn't that build's bundle.
    """
    began = time.perf_counter()
    frames = store.bundle(key, deadline=deadline)
    first = next(frames, None)
    if first is None:
        raise Corrupt("the bundle is empty")
    pulling = _Pulling(decode(first[1], BundleIndex), key, cas, keyring)
    try:
        for digest, data, packed in frames:
            pulling.take(digest, data, len(packed))
    finally:
        pulling.record()
    index = pulling.index
    if not pulling.refused:
        cas.put_build(index)
    return PullReport(
        build=index.build,
        manifests=index.manifests,
        artifacts=len(index.artifacts) - len(pulling.refused),
        refused=pulling.refused,
        blobs=pulling.blobs,
        bytes_raw=pulling.bytes_raw,
        bytes_moved=pulling.bytes_moved,
        seconds=time.perf_counter() - began,
    )


class _Pulling:
    """One pull under way."""

    def __init__(self, index: BundleIndex, key: str, cas: LocalCas, keyring: Keyring) -> None:
        if index.build.key != key:
            raise KeyMismatch(f"the bundle is of build {index.build.key} where {key} was asked for")
        self.index = index
        self.refused: dict[str, InductoryError] = {}
        self.blobs, self.bytes_raw, self.bytes_moved = 0, 0, 0
        self._cas = cas
        self._trusted: list[Artifact] = []
        self._sizes: dict[str, int] = {}
        for artifact in index.artifacts:
            try:
                keyring.check(artifact)
            except InductoryError as error:
                self.refused[artifact.key] = error
            else:
                self._trusted.append(artifact)
        named = {item.digest for artifact in self._trusted for item in artifact.subject.descriptors}
        for manifest in index.manifests:
            named.update(item.digest for item in (*manifest.documents, *manifest.files))
        named.update(entry.dispatch.digest for entry in index.build.entries if entry.dispatch is not None)
        self._named = named

    def take(self, digest: str, data: bytes, bytes_moved: int) -> None:
        """Keep a verified frame that something trusted names; others only cost their way."""
        self.bytes_moved += bytes_moved
        if digest in self._named:
            self.blobs += 1
            self.bytes_raw += len(data)
            self._sizes[digest] = len(data)
            self._cas.put(digest, data)

    def record(self) -> None:
        for artifact in self._trusted:
            try:
                for descriptor in artifact.subject.loaded:
                    self._require(descriptor)
            except InductoryError as error:
                self.refused[artifact.key] = error
            else:
                self._cas.put_artifact(artifact)

    def _require(self, descriptor: Descriptor) -> None:
        """Raise unless the blob came with this pull or lies here already."""
        size = self._sizes.get(descriptor.digest)
        if size is None:
            data = self._cas.get(descriptor.digest)
            if data is None:
                raise BlobMissing(f"blob {descriptor.digest} isn't in the bundle")
            size = self._sizes[descriptor.digest] = len(data)
        if size != descriptor.size:
            raise SizeMismatch(
                f"blob {descriptor.digest} has {size} bytes where {descriptor.size} were declared"
            )
