"""The blobs of one build: from the local cache, and else from the store, many of them in one stream."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence

from inductory_client.cas import LocalCas
from inductory_client.contract.descriptor import Descriptor
from inductory_client.transport import HttpStore

from .store_access import blob_deadline

SINGLY_MAX = 4
"""So few are asked for one by one; the stream has all that the build has."""


class BuildBlobs:
    """Every blob is verified. What the stream brought is held in memory."""

    def __init__(self, key: str, store: HttpStore, cas: LocalCas, progress: Callable[[str], None]) -> None:
        self.bytes_moved = 0
        """Packed bytes of the blobs that came from the store."""
        self._key = key
        self._store = store
        self._cas = cas
        self._progress = progress
        self._held: dict[str, bytes] = {}

    def get(self, descriptor: Descriptor) -> bytes:
        """Raises what the store raises."""
        here = self._held.get(descriptor.digest)
        if here is None:
            here = self._cas.get(descriptor.digest)
        if here is not None:
            return here
        received = self._store.receive_blob(
            descriptor.digest, descriptor.size, blob_deadline(descriptor.size)
        )
        self.bytes_moved += received.bytes_moved
        return received.data

    def expect(self, wanted: Sequence[Descriptor]) -> None:
        """Bring what is about to be asked for, if it is much. Raises what the store raises."""
        sizes = {each.digest: each.size for each in wanted if self._cas.get(each.digest) is None}
        if len(sizes) <= SINGLY_MAX:
            return

        def begin(index: bytes) -> Mapping[str, int]:
            return sizes

        deadline = blob_deadline(sum(sizes.values()))
        for digest, data, packed in self._store.bundle(self._key, begin, deadline=deadline):
            if digest not in sizes:
                continue  # the index
            self._held[digest] = data
            self.bytes_moved += len(packed)
            self._progress(f"fetching: {len(self._held)} of {len(sizes)}")
