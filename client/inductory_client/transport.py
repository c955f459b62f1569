"""Transport: the protocol's calls over HTTP, each with a deadline and through the circuit breaker."""

from __future__ import annotations

import http.client
from collections.abc import Iterable, Iterator, Mapping
from typing import TypeVar
from urllib.parse import urlencode

from msgspec import Struct

from .breaker import CircuitBreaker
from .contract.blob import pack, unpack
from .contract.build import DEFAULT_NAMESPACE
from .contract.bundle import read_frames
from .contract.descriptor import BLOB_BYTES_MAX
from .contract.digest import digest_of
from .contract.errors import (
    DigestMismatch,
    InductoryError,
    KeyMismatch,
    Malformed,
    SizeMismatch,
    StoreUnavailable,
    TooLarge,
    error_from_code,
)
from .contract.wire import (
    BATCH_MAX,
    MESSAGE_BYTES_MAX,
    SIZE_HEADER,
    Artifact,
    BlobsMissing,
    BlobsWanted,
    Build,
    BuildPage,
    BuildStored,
    Events,
    EventsStored,
    LookupPage,
    Manifest,
    ManifestStored,
    Problem,
    Published,
    Resolve,
    Resolved,
    Status,
    decode,
    encode,
)
from .deadline import Deadline
from .pool import ConnectionPool
from .version import __version__

CALL_S = 30.0
"""What a call may take where its caller names no deadline."""
BUNDLE_S = 600.0
BUNDLE_BYTES_MAX = 16 << 30
JSON = "application/json"
_AGENT = f"inductory/{__version__}"
_READ_BYTES = 1 << 20

T = TypeVar("T")


class ReceivedBlob(Struct, frozen=True):
    """Verified bytes, and how many travelled."""

    data: bytes
    bytes_moved: int


class HttpStore:
    """A store at an address. Cheap to make; safe for threads; no call outlives its deadline.

    Every call raises the error that the store named, StoreUnavailable where it can't be reached or answers
    nonsense, DeadlineExceeded, and BreakerOpen without asking. All of them may be repeated.
    """

    def __init__(
        self, url: str, namespace: str = DEFAULT_NAMESPACE, breaker: CircuitBreaker | None = None
    ) -> None:
        self.url = url
        self.namespace = namespace
        self.breaker = breaker or CircuitBreaker()
        self._pool = ConnectionPool(url)

    def close(self) -> None:
        self._pool.close()

    def missing_blobs(self, digests: Iterable[str], deadline: Deadline | None = None) -> set[str]:
        """Return which of the blobs the store lacks."""
        wanted = list(dict.fromkeys(digests))
        missing: set[str] = set()
        for start in range(0, len(wanted), BATCH_MAX):
            message = BlobsWanted(digests=tuple(wanted[start : start + BATCH_MAX]))
            answer = self._call("POST", "/v1/blobs:missing", BlobsMissing, message, deadline=deadline)
            missing.update(answer.missing)
        return missing & set(wanted)

    def get_blob(self, digest: str, size: int, deadline: Deadline | None = None) -> bytes:
        """Return the bytes, checked. Raises NotFound, DigestMismatch, SizeMismatch and Corrupt."""
        return self.receive_blob(digest, size, deadline).data

    def receive_blob(self, digest: str, size: int, deadline: Deadline | None = None) -> ReceivedBlob:
        """`get_blob`, with the count of the bytes that travelled."""
        if size > BLOB_BYTES_MAX:
            raise TooLarge(f"blob {digest} would have {size} bytes")
        packed_max = size + size // 128 + 512  # as in a bundle: zstd hardly grows what it can't shrink
        headers = {"Accept-Encoding": "zstd"}
        answer = self._exchange("GET", f"/v1/blobs/{digest}", headers, None, deadline, packed_max)
        data = unpack(answer.body, size) if answer.encoding == "zstd" else answer.body
        if len(data) != size:
            raise SizeMismatch(f"blob {digest} has {len(data)} bytes where {size} were declared")
        if digest_of(data) != digest:
            raise DigestMismatch(f"what came isn't blob {digest}")
        return ReceivedBlob(data, len(answer.body))

    def put_blob(self, digest: str, data: bytes, deadline: Deadline | None = None) -> int:
        """Send a blob; return how many bytes travelled. Idempotent."""
        packed = pack(data)
        headers = {"Content-Encoding": "zstd", SIZE_HEADER: str(len(data))}
        self._exchange("PUT", f"/v1/blobs/{digest}", headers, packed, deadline)
        return len(packed)

    def resolve(self, message: Resolve, deadline: Deadline | None = None) -> Resolved:
        return self._call("POST", "/v1/artifacts:resolve", Resolved, message, self._scope, deadline)

    def put_artifact(self, artifact: Artifact, deadline: Deadline | None = None) -> Published:
        """Publish. Raises BlobMissing where its blobs weren't sent first."""
        return self._call("PUT", f"/v1/artifacts/{artifact.key}", Published, artifact, self._scope, deadline)

    def get_artifact(self, key: str, deadline: Deadline | None = None) -> Artifact:
        """Return the artifact, unsigned for all we know: the keyring decides. Raises NotFound and
        KeyMismatch.
        """
        artifact = self._call("GET", f"/v1/artifacts/{key}", Artifact, None, self._scope, deadline)
        return _same(artifact, artifact.key, key)

    def lookup(
        self, filters: Mapping[str, str], cursor: str | None = None, deadline: Deadline | None = None
    ) -> LookupPage:
        """Return one page of the REST lookup. `filters`: shape, submodule_index, backend, model, target..."""
        query = {**self._scope, **filters, **({"cursor": cursor} if cursor else {})}
        return self._call("GET", "/v1/artifacts", LookupPage, None, query, deadline)

    def put_manifest(self, manifest: Manifest, deadline: Deadline | None = None) -> ManifestStored:
        """Store a manifest. Raises ArtifactMissing and BlobMissing where what it names wasn't sent first."""
        return self._call(
            "PUT", f"/v1/manifests/{manifest.id}", ManifestStored, manifest, self._scope, deadline
        )

    def get_manifest(self, manifest_id: str, deadline: Deadline | None = None) -> Manifest:
        """Return the manifest. Raises NotFound, and KeyMismatch where the store gave another."""
        manifest = self._call("GET", f"/v1/manifests/{manifest_id}", Manifest, None, self._scope, deadline)
        return _same(manifest, manifest.id, manifest_id)

    def put_build(self, build: Build, deadline: Deadline | None = None) -> BuildStored:
        """Store a build, uniting its entries with those that are there."""
        return self._call("PUT", f"/v1/builds/{build.key}", BuildStored, build, self._scope, deadline)

    def get_build(self, key: str, deadline: Deadline | None = None) -> Build:
        """Return the build. Raises NotFound, and KeyMismatch where the store gave another."""
        build = self._call("GET", f"/v1/builds/{key}", Build, None, self._scope, deadline)
        return _same(build, build.key, key)

    def builds(self, cursor: str | None = None, deadline: Deadline | None = None) -> BuildPage:
        query = {**self._scope, **({"cursor": cursor} if cursor else {})}
        return self._call("GET", "/v1/builds", BuildPage, None, query, deadline)

    def post_events(self, events: Events, deadline: Deadline | None = None) -> EventsStored:
        return self._call("POST", "/v1/events", EventsStored, events, self._scope, deadline)

    def ready(self, deadline: Deadline | None = None) -> Status:
        """Return what the store says of itself, also where that is that it isn't ready."""
        headers = {"Accept-Encoding": "identity"}
        answer = self._exchange("GET", "/readyz", headers, None, deadline, statuses=(200, 503))
        return self._decode(answer.body, Status)

    def bundle(
        self, key: str, bytes_max: int = BUNDLE_BYTES_MAX, deadline: Deadline | None = None
    ) -> Iterator[tuple[str, bytes, bytes]]:
        """Yield (digest, bytes, packed bytes) of each frame of a build's bundle, verified.

        The first frame is the index. Frames yielded before an error are good. Raises NotFound, Corrupt,
        DigestMismatch and TooLarge besides.
        """
        deadline = deadline or Deadline(BUNDLE_S)
        path = f"/v1/builds/{key}/bundle?{urlencode(self._scope)}"
        headers = {"User-Agent": _AGENT, "Accept-Encoding": "identity"}
        with (
            self.breaker.call(),
            self._pool.exchange("GET", path, None, headers, deadline) as response,
        ):
            if response.status != 200:
                raise self._problem(response.status, _read_body(response, MESSAGE_BYTES_MAX))
            yield from read_frames(response, bytes_max)
            response.read(1)  # the end of the answer, so that the connection can be kept

    @property
    def _scope(self) -> dict[str, str]:
        return {"namespace": self.namespace}

    def _call(
        self,
        method: str,
        path: str,
        answer_type: type[T],
        message: Struct | None,
        query: Mapping[str, str] | None = None,
        deadline: Deadline | None = None,
    ) -> T:
        if query:
            path = f"{path}?{urlencode(query)}"
        headers = {"Accept-Encoding": "identity"} | ({"Content-Type": JSON} if message is not None else {})
        body = None if message is None else encode(message)
        answer = self._exchange(method, path, headers, body, deadline)
        return self._decode(answer.body, answer_type)

    def _exchange(
        self,
        method: str,
        path: str,
        headers: Mapping[str, str],
        body: bytes | None,
        deadline: Deadline | None,
        bytes_max: int = MESSAGE_BYTES_MAX,
        statuses: tuple[int, ...] = (200, 201),
    ) -> _Answer:
        headers = {"User-Agent": _AGENT, **headers}
        deadline = deadline or Deadline(CALL_S)
        with (
            self.breaker.call(),
            self._pool.exchange(method, path, body, headers, deadline) as response,
        ):
            if response.status in statuses:
                return _Answer(
                    _read_body(response, bytes_max), response.headers.get("Content-Encoding", "identity")
                )
            raise self._problem(response.status, _read_body(response, MESSAGE_BYTES_MAX))

    def _decode(self, body: bytes, answer_type: type[T]) -> T:
        try:
            return decode(body, answer_type)
        except Malformed as error:
            raise StoreUnavailable(f"{self.url} answers nonsense: {error}") from error

    def _problem(self, status: int, body: bytes) -> InductoryError:
        """Return the error that an answer stands for; one that isn't a problem of ours is an outage."""
        try:
            problem = decode(body, Problem)
        except Malformed:
            return StoreUnavailable(f"{self.url} answers with status {status}")
        return error_from_code(problem.code, problem.detail)


class _Answer(Struct, frozen=True):
    body: bytes
    encoding: str


def _same(value: T, name: str, asked: str) -> T:
    if name != asked:
        raise KeyMismatch(f"the store gave {name} where {asked} was asked for")
    return value


def _read_body(response: http.client.HTTPResponse, bytes_max: int) -> bytes:
    """Return the whole body. Raises TooLarge past the bound, StoreUnavailable where it is cut short."""
    parts: list[bytes] = []
    room = bytes_max + 1
    while room and (part := response.read(min(room, _READ_BYTES))):
        parts.append(part)
        room -= len(part)
    if not room:
        raise TooLarge(f"the store's answer is longer than {bytes_max} bytes")
    if response.length:
        raise StoreUnavailable("the store's answer is cut short")
    return b"".join(parts)
