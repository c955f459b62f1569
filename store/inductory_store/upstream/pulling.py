"""Pulling: what upstream has and this store lacks becomes this store's, blob first, row after, manifest last.

Everything goes in by the operations that publishers use: nothing is kept that no publisher could have sent.
"""

from __future__ import annotations

import logging
from collections.abc import Collection, Iterable, Iterator, Sequence
from concurrent.futures import wait
from contextlib import contextmanager
from typing import TypeVar
from urllib.parse import urlencode

from inductory_client.contract.artifact import Artifact
from inductory_client.contract.build import Build
from inductory_client.contract.descriptor import Descriptor
from inductory_client.contract.errors import (
    BadSignature,
    BlobMissing,
    Corrupt,
    DigestMismatch,
    InductoryError,
    KeyMismatch,
    Malformed,
    SizeMismatch,
    TooLarge,
    UpstreamWrong,
)
from inductory_client.contract.manifest import Manifest
from inductory_client.contract.wire import SIZE_HEADER, ArtifactWanted, Resolve, Resolved

from inductory_store.catalog.artifacts import whole_artifacts
from inductory_store.catalog.blobs import ready_blobs
from inductory_store.catalog.builds import read_build
from inductory_store.catalog.manifests import manifests
from inductory_store.operations.publish_artifact import publish_artifact
from inductory_store.operations.put_blob import put_blob
from inductory_store.operations.put_build import put_build
from inductory_store.operations.put_manifest import put_manifest
from inductory_store.store import Store

from .absent import Absent
from .exchange import BYTES_PER_S_MIN, Exchange, check_status, chunks, read_whole
from .flights import Flights

ARTIFACTS_A_QUESTION = 200
"""So many fit an answer, with their small blobs."""

_LIES = (DigestMismatch, SizeMismatch, Corrupt, TooLarge, KeyMismatch, BadSignature, Malformed)

_log = logging.getLogger(__name__)

T = TypeVar("T")


class Pulling:
    """Pulls into one store. Safe for threads; each blob is fetched once at a time, whoever wants it.

    Raises NotFound for what upstream doesn't have, UpstreamUnavailable, UpstreamWrong for what isn't what was
    asked for, UpstreamLoop, and what publishing raises. Idempotent: what is here isn't fetched.
    """

    def __init__(self, store: Store, exchange: Exchange, absent: Absent, blob_flights: Flights) -> None:
        self._store = store
        self._exchange = exchange
        self._absent = absent
        self._flights = blob_flights

    def blob(self, digest: str) -> None:
        """Fetch one blob, of whatever size."""
        self._fly([(digest, None)])

    def artifacts(self, namespace: str, keys: Iterable[str]) -> None:
        """Fetch those artifacts that upstream has, with all their blobs.

        One that can't be had as it should be is left out, and told in the log; the first such error is raised
        in the end.
        """
        lacking = self.lacking(namespace, keys)
        errors: list[InductoryError] = []
        for start in range(0, len(lacking), ARTIFACTS_A_QUESTION):
            errors += self._some_artifacts(namespace, lacking[start : start + ARTIFACTS_A_QUESTION])
        if errors:
            raise errors[0]

    def lacking(self, namespace: str, keys: Iterable[str]) -> list[str]:
        """Return those of `keys` that are neither here nor known to be absent upstream."""
        wanted = [key for key in dict.fromkeys(keys) if not self._absent.knows(("artifact", namespace, key))]
        with self._store.catalog.read() as connection:
            here = whole_artifacts(connection, namespace, wanted)
        return [key for key in wanted if key not in here]

    def manifest(self, namespace: str, manifest_id: str) -> None:
        """Fetch a manifest, after all that it names."""
        value = self._manifest(namespace, manifest_id)
        self.artifacts(namespace, _pieces([value]))
        self._keep_manifest(namespace, value)

    def build(self, namespace: str, key: str) -> None:
        """Fetch a build, after all that it names; one that is here gets the entries that it lacks.

        Artifacts that are here and lost their bytes are fetched again.
        """
        value = self._ask(f"/v1/builds/{key}", namespace, Build)
        if value.key != key or value.namespace != namespace:
            raise UpstreamWrong(
                f"upstream gave build {value.key} of {value.namespace} where {key} was asked for"
            )
        ids = list(dict.fromkeys(entry.manifest for entry in value.entries))
        with self._store.catalog.read() as connection:
            here = manifests(connection, namespace, ids)
        fetched = [self._manifest(namespace, each) for each in ids if each not in here]
        dispatches = [entry.dispatch for entry in value.entries if entry.dispatch is not None]
        self.artifacts(namespace, (*dispatches, *_pieces([*here.values(), *fetched])))
        for each in fetched:
            self._keep_manifest(namespace, each)
        with self._store.catalog.read() as connection:
            known = read_build(connection, namespace, key)
        if known is None or not set(value.entries) <= set(known.entries) or (value.model and not known.model):
            put_build(self._store, namespace, key, value)

    def _some_artifacts(self, namespace: str, keys: Sequence[str]) -> list[InductoryError]:
        changes = self._absent.changes
        asked = Resolve(artifacts=tuple(ArtifactWanted(key=key) for key in keys))
        answer = self._exchange.ask("POST", f"/v1/artifacts:resolve?{_query(namespace)}", Resolved, asked)
        hits = {hit.key: hit for hit in _derived(answer.hits)}
        if not hits.keys() <= set(keys):
            raise UpstreamWrong("upstream gave artifacts that weren't asked for")
        self._absent.note((("artifact", namespace, key) for key in keys if key not in hits), changes)
        wanted = {each.digest: each for hit in hits.values() for each in hit.subject.descriptors}
        lacking = {digest: each for digest, each in wanted.items() if digest not in self._here(wanted)}
        errors = self._keep_inline(answer.blobs, lacking)
        rest = [each for digest, each in lacking.items() if digest not in answer.blobs]
        errors += self._try_blobs(rest)
        for key, hit in hits.items():
            try:
                with _as_asked(f"artifact {key}"):
                    publish_artifact(self._store, namespace, key, hit)
            except BlobMissing:
                continue  # why its blob isn't here is among the errors
            except InductoryError as error:
                errors.append(error)
        for each in errors:
            _log.error("%s", each)
        return errors

    def _keep_inline(self, blobs: dict[str, bytes], wanted: dict[str, Descriptor]) -> list[InductoryError]:
        errors: list[InductoryError] = []
        for digest in blobs.keys() & wanted.keys():
            try:
                with _as_asked(f"blob {digest}"):
                    put_blob(self._store, digest, wanted[digest].size, [blobs[digest]], packed=True)
            except InductoryError as error:
                errors.append(error)
        return errors

    def _manifest(self, namespace: str, manifest_id: str) -> Manifest:
        value = self._ask(f"/v1/manifests/{manifest_id}", namespace, Manifest)
        if value.id != manifest_id:
            raise UpstreamWrong(f"upstream gave manifest {value.id} where {manifest_id} was asked for")
        return value

    def _keep_manifest(self, namespace: str, value: Manifest) -> None:
        named = {each.digest: each for each in (*value.documents, *value.files)}
        here = self._here(named)
        self._fly([(digest, each.size) for digest, each in named.items() if digest not in here])
        with _as_asked(f"manifest {value.id}"):
            put_manifest(self._store, namespace, value.id, value)

    def _ask(self, path: str, namespace: str, answer_type: type[T]) -> T:
        return self._exchange.ask("GET", f"{path}?{_query(namespace)}", answer_type)

    def _here(self, digests: Collection[str]) -> Collection[str]:
        with self._store.catalog.read() as connection:
            return ready_blobs(connection, digests)

    def _fly(self, blobs: Iterable[tuple[str, int | None]]) -> None:
        """Fetch blobs, several at a time; raise the first error after all of them have ended."""
        flights = [
            self._flights.join(digest, lambda digest=digest, size=size: self._fetch(digest, size))  # type: ignore[misc]
            for digest, size in blobs
        ]
        wait(flights)
        for each in flights:
            each.result()

    def _try_blobs(self, blobs: Iterable[Descriptor]) -> list[InductoryError]:
        try:
            self._fly([(each.digest, each.size) for each in blobs])
        except InductoryError as error:
            return [error]
        return []

    def _fetch(self, digest: str, size: int | None) -> None:
        if self._here([digest]):  # since it was looked up
            return
        # A store whose blobs are in a bucket sends readers of zstd there, where this one may not get.
        if not self._receive(digest, size, "zstd"):
            self._receive(digest, size, "identity")

    def _receive(self, digest: str, size: int | None, encoding: str) -> bool:
        """Keep what upstream sends of a blob; say False where it sends us elsewhere instead."""
        headers = {"Accept-Encoding": encoding}
        with self._exchange.opened("GET", f"/v1/blobs/{digest}", headers) as (response, deadline):
            if response.status == 307 and encoding == "zstd":
                read_whole(response)
                return False
            if response.status != 200:
                check_status(response.status, read_whole(response))
            declared = response.headers.get(SIZE_HEADER, "")
            if not (declared.isascii() and declared.isdigit() and len(declared) <= 18):
                raise UpstreamWrong(f"upstream doesn't say how many bytes blob {digest} has")
            if int(declared) > self._store.settings.blob_bytes_max:
                raise TooLarge(f"blob {digest} has {declared} bytes, more than this store takes")
            if size is not None and int(declared) != size:
                raise UpstreamWrong(f"upstream has {declared} bytes of blob {digest}, whose name says {size}")
            deadline.extend(int(declared) / BYTES_PER_S_MIN)
            packed = response.headers.get("Content-Encoding", "identity") == "zstd"
            with _as_asked(f"blob {digest}"):
                put_blob(self._store, digest, int(declared), chunks(response), packed=packed)
        return True


@contextmanager
def _as_asked(what: str) -> Iterator[None]:
    """Say of what can't be kept that upstream gave something else than was asked for."""
    try:
        yield
    except _LIES as error:
        raise UpstreamWrong(f"upstream's {what} isn't that: {error}") from error


def _derived(hits: Iterable[Artifact]) -> Iterator[Artifact]:
    """Yield artifacts whose keys can be derived. Raises UpstreamWrong."""
    for hit in hits:
        with _as_asked("artifact"):
            _ = hit.key
        yield hit


def _pieces(values: Iterable[Manifest]) -> Iterator[str]:
    return (entry.artifact for value in values for entry in value.entries)


def _query(namespace: str) -> str:
    return urlencode({"namespace": namespace})
