"""Reading one artifact."""

from __future__ import annotations

from inductory_client.contract.errors import NotFound
from inductory_client.contract.wire import MESSAGE_BYTES_MAX

from inductory_store.catalog.artifacts import artifact_records
from inductory_store.store import Store


def read_artifact(store: Store, namespace: str, key: str) -> bytes:
    """Return the JSON of an artifact as it was published. Raises NotFound, also where its bytes were lost."""
    with store.catalog.read() as connection:
        record = artifact_records(connection, namespace, [key], bytes_max=MESSAGE_BYTES_MAX).get(key)
    if record is None:
        raise NotFound(f"there is no artifact {key} in {namespace}")
    store.uses.add("artifact", namespace, [key])
    return record
