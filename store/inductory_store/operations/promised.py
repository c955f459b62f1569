"""Checks that every name points at something, before it is written down."""

from __future__ import annotations

from collections.abc import Iterable

from inductory_client.contract.descriptor import Descriptor
from inductory_client.contract.errors import BlobMissing, SizeMismatch
from sqlalchemy import Connection

from inductory_store.catalog.blobs import hold_blobs

_NAMED_MAX = 3


def check_blobs(connection: Connection, descriptors: Iterable[Descriptor]) -> None:
    """Raise BlobMissing or SizeMismatch unless every blob is there with its declared size.

    They are there until the end of the transaction, so that it may name them.
    """
    wanted = list(descriptors)
    there = hold_blobs(connection, {each.digest for each in wanted})
    missing = {each.digest for each in wanted if each.digest not in there}
    if missing:
        raise BlobMissing(f"upload these blobs first: {some_of(missing)}")
    for each in wanted:
        size = there[each.digest].size
        if size != each.size:
            raise SizeMismatch(f"blob {each.digest} has {size} bytes, not {each.size}")


def some_of(digests: Iterable[str]) -> str:
    """Name a few digests, and count the rest."""
    names = sorted(digests)
    rest = len(names) - _NAMED_MAX
    return ", ".join(names[:_NAMED_MAX]) + (f" and {rest} more" if rest > 0 else "")
