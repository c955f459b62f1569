"""Fetch: the pieces of a graph, from this node's CAS and then, in one round trip and once for all processes
of the node, from the store.

Nothing leaves here that a trusted key hasn't signed for exactly the key and target that were asked, or whose
bytes weren't hashed just now. The local disk is trusted no more than the store.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from pathlib import Path

from msgspec import Struct

from .cas import LocalCas
from .contract.blob import unpack
from .contract.descriptor import Descriptor
from .contract.digest import digest_of
from .contract.errors import (
    BadSignature,
    DeadlineExceeded,
    DigestMismatch,
    InductoryError,
    KeyMismatch,
    SizeMismatch,
    StoreUnavailable,
    TargetMismatch,
)
from .contract.target import Target, differences
from .contract.wire import BATCH_MAX, Artifact, ArtifactWanted, Miss, Resolve, Resolved
from .deadline import Clock, Deadline, StoreBudget
from .flight import one_a_node
from .transport import HttpStore
from .trouble import warn_once
from .trust import Keyring

DIFFERENCES_NAMED_MAX = 10


class Piece(Struct, frozen=True):
    """A verified artifact and the bytes that a load of it reads, by digest."""

    artifact: Artifact
    blobs: dict[str, bytes]


class Fetched(Struct, frozen=True, kw_only=True):
    """What a fetch found, and what went wrong. What was asked and is in neither part simply wasn't got."""

    pieces: dict[str, Piece]
    misses: tuple[Miss, ...] = ()
    """What the store doesn't have; without a store, what the local CAS doesn't have."""
    refused: dict[str, InductoryError] = {}
    """What failed a check, by key."""
    seconds: float
    verify_seconds: float
    """Of these, what checking signatures and digests took, with reading from the local CAS."""
    bytes_moved: int
    """Bytes of blobs that travelled, packed."""
    error: InductoryError | None = None
    """Why the store wasn't asked, or not to the end."""


def fetch(
    wanted: Sequence[ArtifactWanted],
    target: Target,
    *,
    cas: LocalCas,
    keyring: Callable[[], Keyring],
    store: HttpStore | None,
    budget: StoreBudget,
    arriving: Callable[[], bool] = lambda: False,
    share: float = 1.0,
    clock: Clock = time.perf_counter,
) -> Fetched:
    """Return the pieces that could be had and verified. Never raises: whoever asked can always compile.

    `arriving` waits for what is on its way to the local CAS, and says whether to look there again.

    This is the one place where a fault of store, network, disk or artifact turns into pieces that aren't
    there.

    `share` is the part of what is left of the budget that the store may take. One that needs more for a small
    question would need more for large ones, too: it isn't asked again for a while.
    """
    began = clock()
    fetching = _Fetching(wanted, target, cas, clock)
    error: InductoryError | None = None
    try:
        fetching.from_cas(keyring())
        if fetching.open and arriving():
            fetching.from_cas(keyring())
        if fetching.open and store is not None:
            with budget.waiting(share) as deadline:
                _ask_once_a_node(fetching, cas.root, keyring, store, deadline, is_small=share < 1)
        elif fetching.open:
            fetching.misses = [Miss(key=key) for key in fetching.open if key not in fetching.refused]
    except InductoryError as fault:
        error = fault
    except Exception as fault:
        error = InductoryError(f"fetching failed: {fault!r}")
    if error is not None:
        warn_once(f"fetch:{error.code}", "the store isn't used for now: %s", error)
    for refusal in fetching.refused.values():
        warn_once(f"refused:{refusal.code}", "an artifact is refused: %s", refusal)
    _tell_nearest(fetching.misses)
    return fetching.fetched(clock() - began, error)


def _ask_once_a_node(
    fetching: _Fetching,
    root: Path,
    keyring: Callable[[], Keyring],
    store: HttpStore,
    deadline: Deadline,
    *,
    is_small: bool,
) -> None:
    """Ask the store for what no other process of this node gets meanwhile. Raises what the store raises.

    Only who had all of its time for the store can tell that it is slow: whoever waited for another had less.
    """
    waited = False
    try:
        with one_a_node(root, fetching.open, deadline) as waited:
            fetching.from_cas(keyring())  # another process may have got it
            if fetching.open:
                fetching.from_store(store, deadline)
    except DeadlineExceeded:
        fetching.from_cas(keyring())  # or got it while this one asked
        if fetching.open:
            if is_small and not waited:
                store.breaker.open()
            raise


class _Fetching:
    """One fetch under way. `open` is what is still to be found."""

    def __init__(self, wanted: Sequence[ArtifactWanted], target: Target, cas: LocalCas, clock: Clock) -> None:
        self.open = {want.key: want for want in wanted}
        self.pieces: dict[str, Piece] = {}
        self.misses: list[Miss] = []
        self.refused: dict[str, InductoryError] = {}
        self.verify_seconds = 0.0
        self.bytes_moved = 0
        self._target = target
        self._fingerprint = target.fingerprint
        self._cas = cas
        self._clock = clock
        self._keyring = Keyring(())
        self._inline: dict[str, bytes] = {}
        self._received: dict[str, bytes] = {}

    def fetched(self, seconds: float, error: InductoryError | None) -> Fetched:
        """Return what was found, after `seconds`."""
        return Fetched(
            pieces=self.pieces,
            misses=tuple(self.misses),
            refused=self.refused,
            seconds=seconds,
            verify_seconds=self.verify_seconds,
            bytes_moved=self.bytes_moved,
            error=error,
        )

    def from_cas(self, keyring: Keyring) -> None:
        self._keyring = keyring
        began = self._clock()
        for key in list(self.open):
            artifact = self._cas.artifact(key)
            if artifact is not None:
                self._take_local(key, artifact)
        self.verify_seconds += self._clock() - began

    def from_store(self, store: HttpStore, deadline: Deadline) -> None:
        wanted = list(self.open.values())
        for start in range(0, len(wanted), BATCH_MAX):
            batch = tuple(wanted[start : start + BATCH_MAX])
            resolved = store.resolve(Resolve(artifacts=batch, target=self._target), deadline)
            self._take_resolved(resolved, {want.key for want in batch}, store, deadline)

    def _take_local(self, key: str, artifact: Artifact) -> None:
        try:
            self._check(key, artifact)
            blobs = {item.digest: self._local(item) for item in artifact.subject.loaded}
        except InductoryError as error:
            self.refused[key] = error
            if isinstance(error, (BadSignature, KeyMismatch)):
                self._cas.drop_artifact(key)
            return
        whole = {digest: data for digest, data in blobs.items() if data is not None}
        if len(whole) == len(blobs):
            self._found(key, Piece(artifact, whole))

    def _take_resolved(
        self, resolved: Resolved, asked: set[str], store: HttpStore, deadline: Deadline
    ) -> None:
        self._inline = resolved.blobs
        misses = {miss.key: miss for miss in resolved.misses if miss.key in asked}
        self.misses += misses.values()
        answered = set(misses)
        for artifact in resolved.hits:
            key = artifact.key
            if key in asked and key not in answered:
                answered.add(key)
                self._take_hit(key, artifact, store, deadline)
        if answered != asked:
            raise StoreUnavailable(f"{store.url} answered for other artifacts than were asked")

    def _take_hit(self, key: str, artifact: Artifact, store: HttpStore, deadline: Deadline) -> None:
        try:
            began = self._clock()
            self._check(key, artifact)
            self.verify_seconds += self._clock() - began
            blobs = {item.digest: self._blob(item, store, deadline) for item in artifact.subject.loaded}
        except InductoryError as error:
            if error.retryable or error.status >= 500:
                raise  # the store's trouble, not this artifact's
            self.refused[key] = error
            return
        for digest, data in blobs.items():
            self._cas.put(digest, data)
        self._cas.put_artifact(artifact)
        self._found(key, Piece(artifact, blobs))

    def _found(self, key: str, piece: Piece) -> None:
        self.pieces[key] = piece
        self.refused.pop(key, None)
        del self.open[key]

    def _check(self, key: str, artifact: Artifact) -> None:
        """Raise unless a trusted key signed this artifact, and it is for the key and target that were
        asked.
        """
        if artifact.key != key:
            raise KeyMismatch(f"what lies under artifact {key[:12]} is {artifact.key[:12]}")
        self._keyring.check(artifact)
        if artifact.subject.target.fingerprint != self._fingerprint:
            raise TargetMismatch(_explain(key, self._target, artifact.subject.target))

    def _local(self, descriptor: Descriptor) -> bytes | None:
        data = self._cas.get(descriptor.digest)
        return None if data is None else _sized(descriptor, data)

    def _blob(self, descriptor: Descriptor, store: HttpStore, deadline: Deadline) -> bytes:
        """Return a blob from nearby, else from the answer itself, else from the store; hashed just now."""
        data = self._received.get(descriptor.digest)
        if data is not None:
            return _sized(descriptor, data)
        began = self._clock()
        data = self._local(descriptor)
        if data is None and descriptor.digest in self._inline:
            packed = self._inline[descriptor.digest]
            data = unpack(packed, descriptor.size)
            if digest_of(data) != descriptor.digest:
                raise DigestMismatch(f"what came isn't blob {descriptor.digest}")
            self.bytes_moved += len(packed)
        self.verify_seconds += self._clock() - began
        if data is None:
            received = store.receive_blob(descriptor.digest, descriptor.size, deadline)
            data = received.data
            self.bytes_moved += received.bytes_moved
        self._received[descriptor.digest] = data
        return data


def _tell_nearest(misses: Sequence[Miss]) -> None:
    """Warn once of what keeps pieces from being found that were made for another machine or software."""
    for miss in misses:
        if miss.nearest is not None and miss.nearest.differences:
            factors = ",".join(difference.name for difference in miss.nearest.differences)
            named = "; ".join(map(str, miss.nearest.differences))
            warn_once(f"nearest:{factors}", "nothing fits here; the nearest artifact differs in %s", named)


def _sized(descriptor: Descriptor, data: bytes) -> bytes:
    if len(data) != descriptor.size:
        raise SizeMismatch(
            f"blob {descriptor.digest} has {len(data)} bytes where {descriptor.size} were declared"
        )
    return data


def _explain(key: str, ours: Target, theirs: Target) -> str:
    found = differences(ours, theirs)
    named = "; ".join(str(difference) for difference in found[:DIFFERENCES_NAMED_MAX])
    more = f"; and {len(found) - DIFFERENCES_NAMED_MAX} more" if len(found) > DIFFERENCES_NAMED_MAX else ""
    return f"artifact {key[:12]} was made for another machine or software: {named}{more}"
