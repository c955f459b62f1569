"""Transport: the protocol's calls over HTTP, each with a deadline and through the circuit breaker."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from typing import TypeVar
from urllib.parse import urlencode

from msgspec import Struct

from .breaker import CircuitBreaker
from .bucket import BucketReader, BucketWriter
from .contract.blob import pack, packed_bytes_max, unpack
from .contract.build import DEFAULT_NAMESPACE
from .contract.bundle import Sizes, read_frames
from .contract.descriptor import BLOB_BYTES_MAX
from .contract.digest import digest_of
from .contract.errors import (
    DigestMismatch,
    InductoryError,
    KeyMismatch,
    NotFound,
    SizeMismatch,
    TooLarge,
)
from .contract.lease import LEASE_HEADER
from .contract.lifetime import Kind, Retention, RetentionKept, Root, RootPage, RootStored, RootWanted
from .contract.wire import (
    BATCH_MAX,
    DIRECT_BYTES_MIN,
    SIZE_HEADER,
    Agreement,
    Artifact,
    BlobsMissing,
    BlobsWanted,
    Build,
    BuildPage,
    BuildStored,
    Events,
    EventsStored,
    Heartbeat,
    KeysAwaited,
    Leased,
    LeasesEnded,
    LeasesReleased,
    LeasesRenewed,
    LeasesWanted,
    LookupPage,
    Manifest,
    ManifestStored,
    Published,
    Resolve,
    Resolved,
    Standing,
    Stats,
    Status,
    UploadWanted,
)
from .deadline import Deadline
from .exchange import CALL_S, ELSEWHERE, GOOD, Answer, Exchange
from .trouble import warn_once

BUNDLE_S = 600.0
BUNDLE_BYTES_MAX = 16 << 30

T = TypeVar("T")


class ReceivedBlob(Struct, frozen=True):
    """Verified bytes, and how many travelled."""

    data: bytes
    bytes_moved: int


class HttpStore:
    """A store at an address. Cheap to make; safe for threads; no call outlives its deadline.

    Every call raises the error that the store named, StoreUnavailable where it can't be reached or answers
    nonsense, DeadlineExceeded, and BreakerOpen without asking. All but `post_events` may be repeated.
    """

    def __init__(
        self, url: str, namespace: str = DEFAULT_NAMESPACE, breaker: CircuitBreaker | None = None
    ) -> None:
        self.url = url
        self.namespace = namespace
        self.breaker = breaker or CircuitBreaker()
        self._exchange = Exchange(url, self.breaker)
        self._bucket = BucketReader()
        self._uploads = BucketWriter(self._exchange)
        self._offers_uploads = True
        """Whether the store may do so: one that was never told, or is older, doesn't."""

    def close(self) -> None:
        self._exchange.close()
        self._bucket.close()
        self._uploads.close()

    def missing_blobs(self, digests: Iterable[str], deadline: Deadline | None = None) -> set[str]:
        """Return which of the blobs the store lacks."""
        wanted = list(dict.fromkeys(digests))
        missing: set[str] = set()
        for start in range(0, len(wanted), BATCH_MAX):
            message = BlobsWanted(digests=tuple(wanted[start : start + BATCH_MAX]))
            answer = self._exchange.ask("POST", "/v1/blobs:missing", BlobsMissing, message, deadline)
            missing.update(answer.missing)
        return missing & set(wanted)

    def get_blob(self, digest: str, size: int, deadline: Deadline | None = None) -> bytes:
        """Return the bytes, checked. Raises NotFound, DigestMismatch, SizeMismatch and Corrupt."""
        return self.receive_blob(digest, size, deadline).data

    def receive_blob(self, digest: str, size: int, deadline: Deadline | None = None) -> ReceivedBlob:
        """`get_blob`, with the count of the bytes that travelled.

        Where the store says that they are in its bucket they come from there, or from the store all the same.
        """
        if size > BLOB_BYTES_MAX:
            raise TooLarge(f"blob {digest} would have {size} bytes")
        deadline = deadline or Deadline(CALL_S)
        if not self._bucket.is_left_alone:
            answer = self._ask_blob(digest, size, "zstd", deadline)
            if answer.elsewhere is None:
                return _received(digest, size, answer)
            try:
                # Half the time is the store's, should the bucket hang.
                packed = self._bucket.read(answer.elsewhere, packed_bytes_max(size), deadline.half())
                return _received(digest, size, Answer(packed, "zstd"))
            except InductoryError as error:
                warn_once(f"bucket:{error.code}", "blobs come from the store, not its bucket: %s", error)
        # Bytes as they are come from the store itself, always.
        return _received(digest, size, self._ask_blob(digest, size, "identity", deadline))

    def put_blob(self, digest: str, data: bytes, deadline: Deadline | None = None) -> int:
        """Send a blob; return how many bytes it is packed. Idempotent.

        A large one goes to the store's bucket where the store offers that, and to the store itself where that
        fails.
        """
        packed = pack(data)
        deadline = deadline or Deadline(CALL_S)
        if len(packed) >= DIRECT_BYTES_MIN and self._is_put_by_bucket(digest, len(data), packed, deadline):
            return len(packed)
        headers = {"Content-Encoding": "zstd", SIZE_HEADER: str(len(data))}
        self._exchange.ask_bytes("PUT", f"/v1/blobs/{digest}", headers, packed, deadline)
        return len(packed)

    def resolve(self, message: Resolve, deadline: Deadline | None = None) -> Resolved:
        return self._ask("POST", "/v1/artifacts:resolve", Resolved, message, deadline)

    def put_artifact(
        self, artifact: Artifact, deadline: Deadline | None = None, lease: str | None = None
    ) -> Published:
        """Publish, under a lease if its token is told. Raises BlobMissing where its blobs weren't sent first,
        LeaseHeld and StaleLease where somebody else is compiling the key.
        """
        headers = {} if lease is None else {LEASE_HEADER: lease}
        path = f"/v1/artifacts/{artifact.key}"
        return self._ask("PUT", path, Published, artifact, deadline, headers=headers)

    def take_leases(self, wanted: LeasesWanted, deadline: Deadline | None = None) -> Leased:
        """Ask for the right to compile keys."""
        return self._ask("POST", "/v1/leases", Leased, wanted, deadline)

    def renew_leases(self, heartbeat: Heartbeat, deadline: Deadline | None = None) -> LeasesRenewed:
        """Say that leases are still needed."""
        return self._ask("POST", "/v1/leases:renew", LeasesRenewed, heartbeat, deadline)

    def release_leases(self, ended: LeasesEnded, deadline: Deadline | None = None) -> LeasesReleased:
        """Give leases back."""
        return self._ask("POST", "/v1/leases:release", LeasesReleased, ended, deadline)

    def await_keys(self, asked: KeysAwaited, deadline: Deadline | None = None) -> Standing:
        """Return how keys stand, once one of them isn't held any more or `wait_s` are over."""
        return self._ask("POST", "/v1/leases:wait", Standing, asked, deadline)

    def get_artifact(self, key: str, deadline: Deadline | None = None) -> Artifact:
        """Return the artifact, unsigned for all we know: the keyring decides. Raises NotFound and
        KeyMismatch.
        """
        artifact = self._ask("GET", f"/v1/artifacts/{key}", Artifact, None, deadline)
        return _same(artifact, artifact.key, key)

    def get_agreement(self, key: str, deadline: Deadline | None = None) -> Agreement:
        """Return what builders made of an artifact. Raises NotFound and KeyMismatch."""
        agreement = self._ask("GET", f"/v1/artifacts/{key}/agreement", Agreement, None, deadline)
        return _same(agreement, agreement.key, key)

    def lookup(
        self, filters: Mapping[str, str], cursor: str | None = None, deadline: Deadline | None = None
    ) -> LookupPage:
        """Return one page of the REST lookup. `filters`: shape, submodule_index, backend, model, target..."""
        query = {**filters, **({"cursor": cursor} if cursor else {})}
        return self._ask("GET", "/v1/artifacts", LookupPage, None, deadline, query)

    def put_manifest(self, manifest: Manifest, deadline: Deadline | None = None) -> ManifestStored:
        """Store a manifest. Raises ArtifactMissing and BlobMissing where what it names wasn't sent first."""
        return self._ask("PUT", f"/v1/manifests/{manifest.id}", ManifestStored, manifest, deadline)

    def get_manifest(self, manifest_id: str, deadline: Deadline | None = None) -> Manifest:
        """Return the manifest. Raises NotFound, and KeyMismatch where the store gave another."""
        manifest = self._ask("GET", f"/v1/manifests/{manifest_id}", Manifest, None, deadline)
        return _same(manifest, manifest.id, manifest_id)

    def put_build(self, build: Build, deadline: Deadline | None = None) -> BuildStored:
        """Store a build, uniting its entries with those that are there."""
        return self._ask("PUT", f"/v1/builds/{build.key}", BuildStored, build, deadline)

    def get_build(self, key: str, deadline: Deadline | None = None) -> Build:
        """Return the build. Raises NotFound, and KeyMismatch where the store gave another."""
        build = self._ask("GET", f"/v1/builds/{key}", Build, None, deadline)
        return _same(build, build.key, key)

    def builds(self, cursor: str | None = None, deadline: Deadline | None = None) -> BuildPage:
        query = {"cursor": cursor} if cursor else {}
        return self._ask("GET", "/v1/builds", BuildPage, None, deadline, query)

    def post_events(self, events: Events, deadline: Deadline | None = None) -> EventsStored:
        """Have events counted. They are counted again if sent again."""
        path = f"/v1/events?{urlencode({'namespace': self.namespace})}"
        return self._exchange.ask("POST", path, EventsStored, events, deadline, repeatable=False)

    def stats(self, deadline: Deadline | None = None) -> Stats:
        """Return how much this namespace has, and how much rests in the store."""
        return self._ask("GET", "/v1/stats", Stats, None, deadline)

    def roots(self, cursor: str | None = None, deadline: Deadline | None = None) -> RootPage:
        query = {"cursor": cursor} if cursor else {}
        return self._ask("GET", "/v1/roots", RootPage, None, deadline, query)

    def put_root(
        self, kind: Kind, key: str, wanted: RootWanted, deadline: Deadline | None = None
    ) -> RootStored:
        """Keep something, with all that it names. Idempotent. Raises NotFound where it isn't there."""
        return self._ask("PUT", f"/v1/roots/{kind}/{key}", RootStored, wanted, deadline)

    def delete_root(self, kind: Kind, key: str, deadline: Deadline | None = None) -> Root:
        """Remove a root. Raises NotFound where it isn't there."""
        return self._ask("DELETE", f"/v1/roots/{kind}/{key}", Root, None, deadline)

    def retention(self, deadline: Deadline | None = None) -> RetentionKept:
        """Return for how long this namespace keeps what nobody uses, and how much."""
        return self._ask("GET", "/v1/retention", RetentionKept, None, deadline)

    def put_retention(self, value: Retention, deadline: Deadline | None = None) -> RetentionKept:
        """Say so. Idempotent."""
        return self._ask("PUT", "/v1/retention", RetentionKept, value, deadline)

    def ready(self, deadline: Deadline | None = None) -> Status:
        """Return what the store says of itself, also where that is that it isn't ready."""
        return self._exchange.ask("GET", "/readyz", Status, None, deadline, statuses=(200, 503))

    def bundle(
        self, key: str, wanted: Sizes, bytes_max: int = BUNDLE_BYTES_MAX, deadline: Deadline | None = None
    ) -> Iterator[tuple[str, bytes, bytes]]:
        """Yield (digest, bytes, packed bytes) of each frame of a build's bundle that is wanted, verified.

        The first frame is the index, which `wanted` is called with. Frames yielded before an error are good.
        Raises what `wanted` raises, and NotFound, Corrupt, DigestMismatch, SizeMismatch and TooLarge besides.
        """
        deadline = deadline or Deadline(BUNDLE_S)
        path = f"/v1/builds/{key}/bundle?{urlencode({'namespace': self.namespace})}"
        with self._exchange.opened("GET", path, {}, deadline=deadline) as response:
            yield from read_frames(response, bytes_max, wanted)
            response.read(1)  # the end of the answer, so that the connection can be kept

    def _is_put_by_bucket(self, digest: str, size: int, packed: bytes, deadline: Deadline) -> bool:
        """Send a blob by way of the bucket if the store offers that, and say whether the store has it now."""
        if not self._offers_uploads or self._uploads.is_left_alone:
            return False
        # Half the time is for sending it to the store, should the bucket hang.
        half = deadline.half()
        try:
            wanted = UploadWanted(size=size, packed_size=len(packed))
            self._uploads.write(digest, self._uploads.offer(digest, wanted, half), packed, half)
            return True
        except NotFound:
            self._offers_uploads = False
        except InductoryError as error:
            warn_once(f"upload:{error.code}", "blobs go to the store, not its bucket: %s", error)
        return False

    def _ask_blob(self, digest: str, size: int, encoding: str, deadline: Deadline) -> Answer:
        statuses = (*GOOD, ELSEWHERE) if encoding == "zstd" else GOOD
        path, headers = f"/v1/blobs/{digest}", {"Accept-Encoding": encoding}
        return self._exchange.ask_bytes(
            "GET", path, headers, None, deadline, packed_bytes_max(size), statuses=statuses
        )

    def _ask(
        self,
        method: str,
        path: str,
        answer_type: type[T],
        message: Struct | None,
        deadline: Deadline | None,
        query: Mapping[str, str] | None = None,
        headers: Mapping[str, str] | None = None,
    ) -> T:
        """Ask within this store's namespace."""
        path = f"{path}?{urlencode({'namespace': self.namespace, **(query or {})})}"
        return self._exchange.ask(method, path, answer_type, message, deadline, headers=headers)


def _received(digest: str, size: int, answer: Answer) -> ReceivedBlob:
    """Return the bytes of an answer, checked."""
    data = unpack(answer.body, size) if answer.encoding == "zstd" else answer.body
    if len(data) != size:
        raise SizeMismatch(f"blob {digest} has {len(data)} bytes where {size} were declared")
    if digest_of(data) != digest:
        raise DigestMismatch(f"what came isn't blob {digest}")
    return ReceivedBlob(data, len(answer.body))


def _same(value: T, name: str, asked: str) -> T:
    if name != asked:
        raise KeyMismatch(f"the store gave {name} where {asked} was asked for")
    return value
