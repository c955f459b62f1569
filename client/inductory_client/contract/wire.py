"""The messages of protocol v1, and the one strict way to read them.

Fields nobody knows are refused, so that a misspelt option is an error and not a silence.
"""

from __future__ import annotations

import os
import threading
from typing import Annotated, Any, Literal, TypeVar

import msgspec
from msgspec import Meta, Struct

from .agreement import Comparison
from .artifact import Artifact, Backend, Scheme, Subject
from .build import Build, Namespace
from .descriptor import BLOB_BYTES_MAX, Size
from .digest import Digest
from .errors import Malformed
from .lease import (
    Heartbeat,
    KeysAwaited,
    Leased,
    LeasesEnded,
    LeasesReleased,
    LeasesRenewed,
    LeasesWanted,
    Standing,
)
from .lifetime import Retention, RetentionKept, Root, RootPage, RootStored, RootWanted
from .manifest import Manifest
from .shape import Shape
from .target import FactorDifference, Target

MESSAGE_BYTES_MAX = 16 << 20
"""Longest JSON message either side reads."""
BATCH_MAX = 1000
"""Most names in one message."""
PAGE_MAX = 500
DIFFERENCES_MAX = 10
"""Most factors that the explanation of one miss names."""
INLINE_BYTES_MAX = 64 << 10
"""Largest packed blob that travels inside an answer to `artifacts:resolve`."""
DIRECT_BYTES_MIN = 1 << 20
"""Least of a packed blob between client and bucket: a second connection takes as long as a MiB over one."""

SIZE_HEADER = "Inductory-Size"
"""Uncompressed size of a blob that is sent as zstd, in bytes."""

T = TypeVar("T")


def encode(message: Any) -> bytes:
    return msgspec.json.encode(message)


def decode(data: bytes, message_type: type[T]) -> T:
    """Read one message. Raises Malformed, saying which field is wrong."""
    try:
        return _decoder_of(message_type).decode(data)
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError) as error:
        raise Malformed(str(error)) from error


_decoders: dict[Any, msgspec.json.Decoder[Any]] = {}
_making = threading.Lock()


def _decoder_of(message_type: type[T]) -> msgspec.json.Decoder[T]:
    """Return the decoder of a type.

    One thread makes one at a time: where several make their first at once, msgspec 0.22 crashes the process.
    """
    found = _decoders.get(message_type)
    if found is None:
        with _making:
            found = _decoders.setdefault(message_type, msgspec.json.Decoder(message_type))
    return found


def _begin_anew() -> None:
    global _making
    _making = threading.Lock()  # in a child nobody else makes one


os.register_at_fork(after_in_child=_begin_anew)


class Message(Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """A message of the protocol."""


class Problem(Message, frozen=True):
    """An error, as `application/problem+json` (RFC 9457) with a stable code."""

    type: str
    title: str
    status: int
    code: str
    detail: str
    retryable: bool


class BlobsWanted(Message, frozen=True):
    """Asks which of these blobs the store lacks."""

    digests: Annotated[tuple[Digest, ...], Meta(max_length=BATCH_MAX)]


class BlobsMissing(Message, frozen=True):
    missing: tuple[Digest, ...]


class UploadWanted(Message, frozen=True):
    """Asks where a large blob may be sent."""

    size: Size
    packed_size: Annotated[int, Meta(ge=DIRECT_BYTES_MIN, le=2 * BLOB_BYTES_MAX)]
    """Of the zstd frame that will be sent, exactly."""


class UploadOffered(Message, frozen=True):
    """An address in the store's bucket, for one PUT of one zstd frame that the store then reads back."""

    upload: Annotated[str, Meta(max_length=100, pattern=r"^[0-9a-z-]+$")]
    """Its name; what was sent is finished by it."""
    url: Annotated[str, Meta(max_length=8192)]
    headers: Annotated[dict[str, str], Meta(max_length=16)]
    """To be sent along, as they are signed."""
    expires_in_s: Annotated[int, Meta(ge=1)]
    """The PUT must begin within so long."""


class ArtifactWanted(Message, frozen=True):
    key: Digest
    graph_digest: Digest | None = None
    """Lets the store find the nearest artifact where the key is unknown."""


class Resolve(Message, frozen=True):
    """Asks for many artifacts at once."""

    artifacts: Annotated[tuple[ArtifactWanted, ...], Meta(max_length=BATCH_MAX)]
    target: Target | None = None
    """The asker's target, so that a miss can be explained."""
    inline_bytes_max: Annotated[int, Meta(ge=0, le=INLINE_BYTES_MAX)] = INLINE_BYTES_MAX


class Nearest(Message, frozen=True):
    """The same graph, compiled for something else."""

    key: Digest
    differences: tuple[FactorDifference, ...]
    """What the asker's target has and the nearest one's hasn't; empty where shape or options differ.

    The first DIFFERENCES_MAX by name; long values are cut.
    """


class Miss(Message, frozen=True):
    key: Digest
    nearest: Nearest | None = None


class Resolved(Message, frozen=True):
    hits: tuple[Artifact, ...]
    misses: tuple[Miss, ...]
    blobs: dict[str, bytes] = {}
    """Small blobs that the hits load, packed as zstd, by digest."""


class Published(Message, frozen=True):
    """What became of a published artifact. The first writer wins; later ones are compared with it."""

    key: Digest
    outcome: Literal["created", "reproduced", "different"]
    signer: Digest
    """Of the artifact that is kept: whoever doesn't trust it will be refused what the store now has."""
    comparison: Comparison | None = None
    """With the artifact that is kept; None where this one is."""


class Repeat(Message, frozen=True):
    """What a later builder made of a key that was there."""

    signer: Digest
    builder: str
    """What made it, as its provenance says."""
    created_at: str
    comparison: Comparison


class Agreement(Message, frozen=True):
    """Whose artifact is kept under a key, and whether later builders made the same bytes."""

    key: Digest
    signer: Digest
    builder: str
    created_at: str
    reproduced: int
    different: int
    """How many later artifacts were equal, and how many weren't; neither is counted without end."""
    repeats: tuple[Repeat, ...]
    """The later ones, the newest first."""


class ManifestStored(Message, frozen=True):
    id: Digest
    created: bool


class BuildStored(Message, frozen=True):
    key: Digest
    created: bool
    entries: int


class LookupEntry(Message, frozen=True):
    """A row of the REST lookup: an artifact, and where a manifest uses it."""

    artifact: Digest
    scheme: Scheme
    scheme_key: str | None
    shape: Shape
    submodule_index: int | None
    """None for a dispatch, and for an artifact that no manifest names yet."""
    backend: Backend
    manifest: Digest | None
    build: Digest | None
    model: str | None
    target: Digest
    digest: Digest
    """Of the payload."""
    size: int
    compile_seconds: float | None
    signer: Digest
    reproduced: int
    different: int
    """How many later artifacts of this key were equal to the one that is kept, and how many weren't."""


class LookupPage(Message, frozen=True):
    entries: tuple[LookupEntry, ...]
    next: str | None
    """Pass it as `cursor` for the next page; None at the end."""


class BuildSummary(Message, frozen=True):
    key: Digest
    namespace: Namespace
    component: str
    model: str
    target: Digest
    entries: int
    graphs: int
    """Different ones: a graph has an entry for each of its dispatches."""
    artifacts: int
    """Different ones of its graphs' parts."""
    dispatches: int
    created_at: str


class BuildPage(Message, frozen=True):
    builds: tuple[BuildSummary, ...]
    next: str | None


EventKind = Literal["hit", "miss", "load", "compile", "publish", "refused", "fallback", "waited", "impatient"]


class Event(Message, frozen=True):
    """Something that a client did, counted; sent in batches and never on the hot path.

    hit: pieces found; miss: pieces not found; load: pieces loaded and run (the effective hits);
    compile: pieces compiled; publish: artifacts sent; refused: artifacts that failed a check;
    fallback: graphs left to stock Inductor; waited: pieces that somebody else compiled meanwhile;
    impatient: pieces that were compiled here because whoever holds the lease took too long.
    """

    kind: EventKind
    at: Annotated[float, Meta(ge=0, le=253_402_300_799)]
    """Seconds since the epoch, up to the end of the year 9999."""
    count: Annotated[int, Meta(ge=1, le=1_000_000)] = 1
    seconds: Annotated[float, Meta(ge=0, le=1e6)] = 0.0
    """What it took, of all `count` together."""
    artifact: Digest | None = None
    reason: Annotated[str, Meta(max_length=200)] = ""


class Events(Message, frozen=True):
    events: Annotated[tuple[Event, ...], Meta(max_length=BATCH_MAX)]


class EventsStored(Message, frozen=True):
    stored: int


class Stats(Message, frozen=True):
    """How much there is: builds and artifacts of one namespace, blobs of the whole store."""

    builds: int
    artifacts: int
    dispatches: int
    """How many of the artifacts are dispatches, and no pieces."""
    agreed: int
    """Artifacts that another builder made to the same bytes, and none to others."""
    disagreed: int
    """Artifacts of which builders made different bytes."""
    blobs: int
    bytes_at_rest: int
    """Of the blobs, packed."""


class Status(Message, frozen=True):
    """What the store says of itself at `/readyz`."""

    status: Literal["ok", "unready"]
    version: str
    checks: dict[str, str]
    """`ok`, or what is wrong, by part."""


__all__ = [
    "BATCH_MAX",
    "DIFFERENCES_MAX",
    "DIRECT_BYTES_MIN",
    "INLINE_BYTES_MAX",
    "MESSAGE_BYTES_MAX",
    "PAGE_MAX",
    "SIZE_HEADER",
    "Agreement",
    "Artifact",
    "ArtifactWanted",
    "BlobsMissing",
    "BlobsWanted",
    "Build",
    "BuildPage",
    "BuildStored",
    "BuildSummary",
    "Comparison",
    "Event",
    "EventKind",
    "Events",
    "EventsStored",
    "Heartbeat",
    "KeysAwaited",
    "Leased",
    "LeasesEnded",
    "LeasesReleased",
    "LeasesRenewed",
    "LeasesWanted",
    "LookupEntry",
    "LookupPage",
    "Manifest",
    "ManifestStored",
    "Message",
    "Miss",
    "Nearest",
    "Problem",
    "Published",
    "Repeat",
    "Resolve",
    "Resolved",
    "Retention",
    "RetentionKept",
    "Root",
    "RootPage",
    "RootStored",
    "RootWanted",
    "Standing",
    "Stats",
    "Status",
    "Subject",
    "UploadOffered",
    "UploadWanted",
    "decode",
    "encode",
]
