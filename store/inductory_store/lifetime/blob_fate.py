"""What becomes of a blob that nothing names."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

BlobFate = Literal["keep", "condemn", "rescue", "delete"]


@dataclass(frozen=True)
class BlobHeld:
    """A blob's row."""

    digest: str
    packed_size: int
    named: bool
    """By an artifact or a manifest of any namespace."""
    condemned_at: float | None
    deleting: bool = False
    """Its promise was taken back by somebody who was about to delete it."""


def blob_fate(blob: BlobHeld, now: float, grace_s: float) -> BlobFate:
    """Return what is to be done with a blob.

    Nothing names a blob that was just sent, either. It is condemned at once, and has the grace to be named
    in; and whoever was told of an artifact before it was dropped has the grace to read its blobs in.
    """
    if blob.deleting:
        return "delete"  # or, named all the same, taken for what has to be looked at: whoever deletes it sees
    if blob.named:
        return "keep" if blob.condemned_at is None else "rescue"
    if blob.condemned_at is None:
        return "condemn"
    return "delete" if blob.condemned_at <= now - grace_s else "keep"
