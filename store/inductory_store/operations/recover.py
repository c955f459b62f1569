"""Looking again for bytes whose promise was taken back: a folder returns, somebody restores a copy."""

from __future__ import annotations

import logging

from inductory_client.contract.errors import InductoryError, NotFound

from inductory_store.blobs.unpacking import verified
from inductory_store.catalog.blobs import BlobRow, damaged_blob
from inductory_store.store import Store

from .chunks import chunks_of
from .promise import promise

_log = logging.getLogger(__name__)


def recover(store: Store, digest: str) -> bool:
    """Promise a damaged blob again if it is whole at rest, and say whether it is.

    It is read and verified to its end first. Raises StorageFailed where the place for blobs can't be read.
    """
    with store.catalog.read() as connection:
        row = damaged_blob(connection, digest)
    if row is None:
        return False
    try:
        with store.blobs.open(row.digest) as file:
            packed_size = sum(len(chunk) for chunk in verified(chunks_of(file), row.digest, row.size))
    except NotFound:
        return False
    except InductoryError as error:
        if error.retryable:
            raise
        return False
    promise(store, BlobRow(row.digest, row.size, packed_size), look=True)
    _log.warning("blob %s is whole again", row.digest)
    return True
