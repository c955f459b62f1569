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
    pulling = _Pulling(key, cas, keyring)
    frames = store.bundle(key, pulling.begin, deadline=deadline)
    next(frames, None)  # the index, which `begin` has read
    try:
        for digest, data, packed in frames:
            pulling.take(digest, data, len(packed))
    finally:
        pulling.end()
    index = pulling.index
    if not pulling.refused:
        cas.put_build(index)
    return PullReport(
        build=index.build,
        manifests=index.manifests,
        artifacts=len(pulling.recorded),
        refused=pulling.refused,
        blobs=pulling.blobs,
        bytes_raw=pulling.bytes_raw,
        bytes_moved=pulling.bytes_moved,
        seconds=time.perf_counter() - began,
    )


class _Pulling:
    """One pull under way. Manifests and builds aren't signed: only what trusted artifacts load is kept."""

    def __init__(self, key: str, cas: LocalCas, keyring: Keyring) -> None:
        self.refused: dict[str, InductoryError] = {}
        self.recorded: set[str] = set()
        self.blobs, self.bytes_raw, self.bytes_moved = 0, 0, 0
        self._key = key
        self._cas = cas
        self._keyring = keyring
        self._index: BundleIndex | None = None
        self._sizes: dict[str, int] = {}
        self._awaited: dict[str, set[str]] = {}
        """What an artifact loads and hasn't come yet, by the artifact's key."""
        self._users: dict[str, list[Artifact]] = {}
        """The artifacts that load a blob, by the blob's digest."""

    @property
    def index(self) -> BundleIndex:
        if self._index is None:
            raise Corrupt("the bundle is empty")
        return self._index

    def begin(self, data: bytes) -> dict[str, int]:
        """Read the index and return the sizes of the blobs that are wanted, by digest."""
        index = decode(data, BundleIndex)
        if index.build.key != self._key:
            raise KeyMismatch(f"the bundle is of build {index.build.key} where {self._key} was asked for")
        self._index = index
        wanted: dict[str, int] = {}
        for artifact in index.artifacts:
            if artifact.key in self._awaited:
                continue
            try:
                self._keyring.check(artifact)
            except InductoryError as error:
                self.refused[artifact.key] = error
                continue
            loaded = artifact.subject.loaded
            self._awaited[artifact.key] = {item.digest for item in loaded}
            for item in loaded:
                wanted[item.digest] = item.size
                self._users.setdefault(item.digest, []).append(artifact)
        return wanted

    def take(self, digest: str, data: bytes, bytes_moved: int) -> None:
        """Keep a verified blob, and record the artifacts that waited for it alone: a start may be waiting."""
        self.bytes_moved += bytes_moved
        self.blobs += 1
        self.bytes_raw += len(data)
        self._sizes[digest] = len(data)
        self._cas.put(digest, data)
        for artifact in self._users[digest]:
            awaited = self._awaited[artifact.key]
            awaited.discard(digest)
            if not awaited:
                self._record(artifact)

    def end(self) -> None:
        """Record what is whole with what lay here before, and refuse the rest."""
        if self._index is None:
            return
        for artifact in self._index.artifacts:
            if artifact.key in self._awaited and artifact.key not in self.recorded:
                self._record(artifact)

    def _record(self, artifact: Artifact) -> None:
        try:
            for descriptor in artifact.subject.loaded:
                self._require(descriptor)
        except InductoryError as error:
            self.refused[artifact.key] = error
        else:
            self._cas.put_artifact(artifact)
            self.recorded.add(artifact.key)

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
