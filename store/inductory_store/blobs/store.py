"""What every place for blobs can do."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from typing import BinaryIO, Protocol, runtime_checkable


@dataclass(frozen=True)
class BlobStat:
    """A blob at rest."""

    packed_size: int
    """Bytes of its zstd frame."""


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
