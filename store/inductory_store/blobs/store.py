"""What every place for blobs can do."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from typing import BinaryIO, Protocol, runtime_checkable

from .upload_id import UploadId


@dataclass(frozen=True)
class BlobStat:
    """A blob at rest."""

    packed_size: int
    """Bytes of its zstd frame."""


@dataclass(frozen=True)
class UploadAddress:
    """Where a zstd frame may be PUT, once or again, for a short while."""

    url: str
    headers: dict[str, str]
    """To be sent with it, as they are."""
    expires_s: int
    upload: UploadId


class BlobStore(Protocol):
    """A place for blobs. All methods may be called from many threads, and by many processes on one place."""

    def put(self, digest: str, size: int, packed: Iterable[bytes]) -> BlobStat:
        """Keep the blob whose zstd frame arrives in the chunks of `packed`, once it is verified.

        Atomic: a reader sees the whole blob or none, and any failure, one of `packed` itself included, leaves
        what was there before. Idempotent: an equal blob may be put again, two may race. Raises
        DigestMismatch, SizeMismatch, Corrupt, TooLarge for other bytes than were announced, StorageFull and
        StorageFailed.
        """

    def open(self, digest: str) -> BinaryIO:
        """Return the blob's zstd frame, seekable; the caller closes it. Raises NotFound, StorageFailed."""

    def stat(self, digest: str) -> BlobStat | None:
        """Return what rests under `digest`, or None. Its bytes aren't read."""

    def delete(self, digest: str) -> bool:
        """Remove the blob and say whether it was there. Whoever has it open reads on."""

    def list(self) -> Iterator[str]:
        """Yield the digests of all blobs at rest, in order."""

    def check(self) -> None:
        """Raise StorageFull or StorageFailed unless a blob could be written now."""


class KeptBlobs(BlobStore, Protocol):
    """A BlobStore that outlives its processes, and what they leave when they die."""

    def sweep_incoming(self, now: float) -> int:
        """Remove what processes that died left half-written; return how many things that were."""


@runtime_checkable
class DirectUrls(Protocol):
    """What a blob store can do beside, if readers can fetch from where it keeps its bytes."""

    def direct_url(self, digest: str) -> str:
        """Return an address that gives the blob's zstd frame for a short while."""


@runtime_checkable
class DirectUploads(Protocol):
    """What a blob store can do beside, if senders can reach where it keeps its bytes.

    What they send is no blob: it waits under another name, unread, until it is opened and `put`.
    """

    def offer_upload(self, digest: str, size: int, packed_size: int, now: float) -> UploadAddress:
        """Return an address that takes the zstd frame, `packed_size` bytes long, of a blob of `size` bytes.

        Nothing is remembered here. Raises StorageFailed.
        """

    def open_upload(self, digest: str, upload: UploadId) -> BinaryIO:
        """Return what was sent, whatever that is; the caller closes it. Raises NotFound, StorageFailed."""

    def drop_upload(self, digest: str, upload: UploadId) -> None:
        """Remove what was sent, if anything was. Where that fails the log says so, and a sweep does it."""
