"""Reading a file at rest in chunks."""

from __future__ import annotations

from collections.abc import Iterator
from typing import BinaryIO

from inductory_client.contract.errors import StorageFailed

from inductory_store.blobs.unpacking import CHUNK_BYTES


def chunks_of(file: BinaryIO) -> Iterator[bytes]:
    """Yield the rest of `file`. Raises StorageFailed where it can't be read."""
    while True:
        try:
            chunk = file.read(CHUNK_BYTES)
        except OSError as error:
            raise StorageFailed from error
        if not chunk:
            return
        yield chunk
