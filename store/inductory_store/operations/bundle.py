"""The bundle: everything that a build's start loads, in one stream, straight from rest."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import closing
from functools import partial

from inductory_client.contract import wire
from inductory_client.contract.artifact import Artifact
from inductory_client.contract.blob import pack
from inductory_client.contract.bundle import INDEX_BYTES_MAX, MAGIC, BundleIndex, end_header, frame_header
from inductory_client.contract.descriptor import Descriptor
from inductory_client.contract.digest import digest_of
from inductory_client.contract.errors import NotFound, StorageFailed, TooLarge
from inductory_client.contract.key import SCHEME

from inductory_store.catalog.artifacts import artifact_records
from inductory_store.catalog.blobs import ready_blobs
from inductory_store.catalog.builds import read_build
from inductory_store.catalog.manifests import manifests
from inductory_store.kept_answers import ANSWER_BYTES_MAX
from inductory_store.store import Store

from .ahead import read_ahead
from .get_blob import read_packed

AHEAD_BLOB_BYTES_MAX = 1 << 20
"""Larger blobs are read one at a time: several would take much memory, and their bytes take the time."""


def kept_bundle(store: Store, namespace: str, key: str) -> bytes | None:
    """Return the bundle of a build that many ask for, from memory."""
    return store.answers.get(bundle_question(namespace, key))


def bundle_question(namespace: str, key: str) -> tuple[str, str, str]:
    """Return under which name a build's bundle is kept in memory."""
    return ("bundle", namespace, key)


def open_bundle(store: Store, namespace: str, key: str) -> bytes | Iterator[bytes]:
    """Return the bundle of a build: whole and kept in memory, or where it is long, as a stream.

    Raises NotFound and TooLarge now, and for a damaged blob StorageFailed, which the iterator may, too.
    Artifacts whose bytes were lost are left out: whoever reads it compiles them.
    """
    question = bundle_question(namespace, key)
    with store.answers.turn(question):
        kept = store.answers.get(question)
        if kept is not None:
            return kept
        try:
            return _whole_or_stream(store, namespace, key)
        except StorageFailed:  # a blob was found damaged, and its promise taken back: without it, then
            return _whole_or_stream(store, namespace, key)


def _whole_or_stream(store: Store, namespace: str, key: str) -> bytes | Iterator[bytes]:
    changes = store.answers.changes
    index = _index(store, namespace, key)
    data = wire.encode(index)
    if len(data) > INDEX_BYTES_MAX:
        raise TooLarge("the build is too large for a bundle; ask for its artifacts")
    if len(data) + _packed_bytes(store, index) > ANSWER_BYTES_MAX:
        return _stream(store, index, data)
    whole = b"".join(_stream(store, index, data))
    store.answers.keep(bundle_question(namespace, key), whole, changes)
    return whole


def _index(store: Store, namespace: str, key: str) -> BundleIndex:
    with store.catalog.read() as connection:
        build = read_build(connection, namespace, key)
        if build is None:
            raise NotFound(f"there is no build {key} in {namespace}")
        found = manifests(connection, namespace, [entry.manifest for entry in build.entries])
        ordered = [found[each] for each in dict.fromkeys(entry.manifest for entry in build.entries)]
        dispatches = [entry.dispatch for entry in build.entries if entry.dispatch is not None]
        pieces = [entry.artifact for manifest in ordered for entry in manifest.entries]
        keys = list(dict.fromkeys((*dispatches, *pieces)))
        records = artifact_records(connection, namespace, keys, bytes_max=INDEX_BYTES_MAX)
    store.uses.add("build", namespace, [key])
    artifacts = tuple(wire.decode(records[each], Artifact) for each in keys if each in records)
    return BundleIndex(build=build, manifests=tuple(ordered), artifacts=artifacts)


def blobs_of(index: BundleIndex) -> tuple[Descriptor, ...]:
    """Return what a bundle carries, once each: what artifacts load, a foreign folder's files."""
    loaded = [each for artifact in index.artifacts for each in artifact.subject.loaded]
    files = [each for manifest in index.manifests if manifest.scheme != SCHEME for each in manifest.files]
    return tuple({each.digest: each for each in (*loaded, *files)}.values())


def _packed_bytes(store: Store, index: BundleIndex) -> int:
    with store.catalog.read() as connection:
        rows = ready_blobs(connection, {each.digest for each in blobs_of(index)})
    return sum(row.packed_size for row in rows.values())


def _stream(store: Store, index: BundleIndex, data: bytes) -> Iterator[bytes]:
    packed = pack(data)
    yield MAGIC
    yield frame_header(digest_of(data), len(data), packed)
    yield packed
    blobs = blobs_of(index)
    small = read_ahead(partial(_frame, store), (each for each in blobs if each.size <= AHEAD_BLOB_BYTES_MAX))
    with closing(small):
        for each in blobs:
            frame = next(small) if each.size <= AHEAD_BLOB_BYTES_MAX else _frame(store, each)
            yield frame_header(each.digest, each.size, frame)
            yield frame
    yield end_header(1 + len(blobs))


def _frame(store: Store, blob: Descriptor) -> bytes:
    """Return a blob's zstd frame, all of it: its header has a checksum of the whole."""
    body, _ = read_packed(store, blob.digest, blob.size)
    return body if isinstance(body, bytes) else b"".join(body)
