"""The local CAS: blobs and artifact records on this node's disk, shared by all its processes.

    <root>/cas/sha256/ab/ab12...      the bytes, and behind them their xxh3-128
    <root>/artifacts/ab/ab12....json  an artifact record, by key
    <root>/builds/ab/ab12....json     the index of a bundle that was pulled, by build key
    <root>/published/ab/ab12....json  the manifest and build of a publication, by its own digest
    <root>/last/ab/ab12...            the key of the build last used under a label, by the label's digest
    <root>/misses/ab/ab12....jsonl    what was wanted for a target and not got, by the target's fingerprint

Blobs rest uncompressed: reading and hashing one costs half of what unpacking it first would. The checksum
behind them lets `scan` find damage without hashing, and is never what trust rests on: `get` hashes what it
returns. Nothing here raises for the state of the disk. A folder that can't be used is warned about once and
done without.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path

from msgspec import Struct

from . import eviction
from .cas_folder import CasFolder
from .contract.build import Build
from .contract.bundle import BundleIndex
from .contract.canonical_json import digest_of_json
from .contract.descriptor import Descriptor
from .contract.digest import checksum_of, digest_of, is_digest
from .contract.errors import InductoryError
from .contract.wire import Artifact, decode, encode
from .publication import Names
from .trouble import warn_once

CHECKSUM_BYTES = 16
EVICTIONS_PER_FILL = 20
"""How often eviction is looked at while a full cache's worth of bytes is written."""


class CasScan(Struct, frozen=True, kw_only=True):
    """What a scan found."""

    blobs: int
    artifacts: int
    read_bytes: int
    damaged: tuple[str, ...]
    """Digests of the blobs and keys of the records that can't be used."""


class CasUsage(Struct, frozen=True, kw_only=True):
    """How much there is. Files that are being written count."""

    blobs: int
    artifacts: int
    used_bytes: int
    """Of all files, the indexes of builds and what was published included."""


class LocalCas:
    """Blobs by digest, artifact records by key. Safe for threads and processes; never raises for the disk."""

    def __init__(self, root: Path, bytes_max: int) -> None:
        self.root = root
        self.bytes_max = bytes_max
        self._blobs = CasFolder(root, Path("cas", "sha256"), "")
        self._records = CasFolder(root, Path("artifacts"), ".json")
        self._indexes = CasFolder(root, Path("builds"), ".json")
        self._published = CasFolder(root, Path("published"), ".json")
        self._last = CasFolder(root, Path("last"), "")
        self.missed = CasFolder(root, Path("misses"), ".jsonl")
        """What `misses.py` reads and writes; it lies here so that it is evicted with the rest."""
        # The first write of a process looks too, so that many short-lived ones don't fill the disk together.
        self._unlooked_bytes = bytes_max

    def get(self, digest: str) -> bytes | None:
        """Return the bytes, hashed just now; None where they aren't there. Damaged ones are dropped."""
        found = self._blobs.read(digest)
        if found is None:
            return None
        data = found[:-CHECKSUM_BYTES]
        if digest_of(data) != digest:
            warn_once("cas:damaged", "blob %s in %s is damaged; it is dropped", digest, self.root)
            self._blobs.drop(digest)
            return None
        return data

    def put(self, digest: str, data: bytes) -> bool:
        """Store bytes that the caller has checked; True where they are there now. Atomic and idempotent.

        Wrong bytes do no harm but to be dropped at the first `get`.
        """
        size = len(data) + CHECKSUM_BYTES
        if self._blobs.touch(digest, size):
            return True
        return self._write(self._blobs, digest, (data, checksum_of(data)), size)

    def artifact(self, key: str) -> Artifact | None:
        """Return the record kept under `key` as it lies there; its key and signature aren't checked."""
        found = self._records.read(key)
        if found is None:
            return None
        try:
            return decode(found, Artifact)
        except InductoryError:
            warn_once("cas:damaged", "artifact record %s in %s is damaged; it is dropped", key, self.root)
            self._records.drop(key)
            return None

    def put_artifact(self, artifact: Artifact) -> bool:
        """Store a record under its key, over an older one; True where it is there now. Atomic.

        Put its blobs first: a reader that finds the record then finds them too.
        """
        data = encode(artifact)
        return self._write(self._records, artifact.key, (data,), len(data))

    def drop_artifact(self, key: str) -> None:
        """Forget a record that can't be used; its blobs go when they are the least recently used."""
        self._records.drop(key)

    def drop_blob(self, digest: str) -> None:
        """Forget a blob that `scan` found damaged; `get` drops by itself what it finds so."""
        self._blobs.drop(digest)

    def artifacts(self) -> Iterator[Artifact]:
        """Yield every readable record, unchecked."""
        for key in self._records.names():
            artifact = self.artifact(key)
            if artifact is not None:
                yield artifact

    def artifact_keys(self) -> Iterator[str]:
        """Yield the keys of all records, readable or not, sorted."""
        return self._records.names()

    def build(self, key: str) -> Build | None:
        """Return a build that was pulled, as it was then, if all that it loads still lies here.

        Looks at names and sizes; a fetch checks the bytes. All of it is marked as used just now.
        """
        found = self._indexes.read(key)
        if found is None:
            return None
        try:
            index = decode(found, BundleIndex)
        except InductoryError:
            self._indexes.drop(key)
            return None
        whole = all(
            self._records.read(artifact.key) is not None and all(map(self._has, artifact.subject.loaded))
            for artifact in index.artifacts
        )
        return index.build if whole else None

    def put_build(self, index: BundleIndex) -> bool:
        """Remember what a build loads, once all of it lies here. Atomic."""
        data = encode(index)
        self._remember(index.build)
        return self._write(self._indexes, index.build.key, (data,), len(data))

    def last_build(self, namespace: str, model: str, component: str) -> str | None:
        """Return the key of the build that was last pulled or published here under this label."""
        found = (self._last.read(_label(namespace, model, component)) or b"").decode("ascii", "replace")
        return found if is_digest(found) else None

    def put_names(self, names: Names) -> bool:
        """Remember what a publication named, for a later push. Atomic and idempotent.

        Each lies under its own digest, so that processes which publish graphs of one build lose none.
        """
        data = encode(names)
        if names.build is not None:
            self._remember(names.build)
        return self._write(self._published, digest_of(data), (data,), len(data))

    def published(self) -> Iterator[Names]:
        """Yield what publications named here, as it lies there."""
        for digest in self._published.names():
            data = self._published.read(digest) or b""
            try:
                yield decode(data, Names)
            except InductoryError:
                self._published.drop(digest)

    def evict(self) -> int:
        """Delete the least recently used files where there are too many bytes; return how many went."""
        self._unlooked_bytes = 0
        return eviction.evict(self._folders, self.root, self.bytes_max, keep=None)

    def usage(self) -> CasUsage:
        """Count what is there, without reading it."""
        blobs, artifacts, *others = ([*_sizes(folder)] for folder in self._folders)
        used = sum(map(sum, (blobs, artifacts, *others)))
        return CasUsage(blobs=len(blobs), artifacts=len(artifacts), used_bytes=used)

    def scan(self, deep: bool = False) -> CasScan:
        """Read everything and report damage: blobs by checksum, or by digest if `deep`. Changes nothing."""
        blobs, records, total = 0, 0, 0
        damaged: list[str] = []
        for digest in self._blobs.names():
            found = self._blobs.read(digest, touch=False) or b""
            blobs, total = blobs + 1, total + len(found)
            data, checksum = found[:-CHECKSUM_BYTES], found[-CHECKSUM_BYTES:]
            if checksum_of(data) != checksum or (deep and digest_of(data) != digest):
                damaged.append(digest)
        for key in self._records.names():
            found = self._records.read(key, touch=False) or b""
            records, total = records + 1, total + len(found)
            if not _is_record(found, key):
                damaged.append(key)
        return CasScan(blobs=blobs, artifacts=records, read_bytes=total, damaged=tuple(damaged))

    @property
    def _folders(self) -> tuple[CasFolder, ...]:
        return self._blobs, self._records, self._indexes, self._published, self._last, self.missed

    def _remember(self, build: Build) -> None:
        """Note that `build` was used last under its label. A guess: what it leads to is verified."""
        key = build.key.encode()
        self._write(self._last, _label(build.namespace, build.model, build.component), (key,), len(key))

    def _has(self, descriptor: Descriptor) -> bool:
        return self._blobs.touch(descriptor.digest, descriptor.size + CHECKSUM_BYTES)

    def _write(self, folder: CasFolder, name: str, parts: tuple[bytes, ...], size: int) -> bool:
        if size > self.bytes_max:
            return False
        written = folder.write(name, parts)
        self._unlooked_bytes += size
        if written is not None and self._unlooked_bytes * EVICTIONS_PER_FILL >= self.bytes_max:
            self._unlooked_bytes = 0
            eviction.evict(self._folders, self.root, self.bytes_max, keep=written)
        return written is not None


def _label(namespace: str, model: str, component: str) -> str:
    return digest_of_json({"namespace": namespace, "model": model, "component": component})


def _sizes(folder: CasFolder) -> Iterator[int]:
    for entry in folder.files():
        with suppress(FileNotFoundError):  # evicted just now
            yield entry.stat(follow_symlinks=False).st_size


def _is_record(data: bytes, key: str) -> bool:
    try:
        return decode(data, Artifact).key == key
    except InductoryError:
        return False
