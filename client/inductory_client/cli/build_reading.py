"""Reads a build at the store from end to end, and notes what is damaged, missing or untrusted."""

from __future__ import annotations

from collections.abc import Callable
from typing import TypeVar

from msgspec import Struct

from inductory_client.contract.descriptor import Descriptor
from inductory_client.contract.errors import InductoryError
from inductory_client.integrations.vllm_folder.file_list import check_file_list
from inductory_client.transport import HttpStore
from inductory_client.trust import Keyring

from .store_access import blob_deadline

T = TypeVar("T")


class Finding(Struct, frozen=True):
    """Something damaged, missing or untrusted."""

    name: str
    """A digest, key or id."""
    what: str


class BuildReading:
    """One look at a build. Errors that may pass (an outage) are raised; all others become findings."""

    def __init__(self, store: HttpStore, keyring: Keyring, progress: Callable[[str], None]) -> None:
        self.findings: list[Finding] = []
        self.descriptors: dict[str, Descriptor] = {}
        self.artifacts = 0
        self._store = store
        self._keyring = keyring
        self._progress = progress

    def read(self, key: str) -> None:
        """Read the build `key`. Raises NotFound where there is no such build."""
        build = self._store.get_build(key)
        keys: set[str] = set()
        for entry in build.entries:
            keys |= {entry.dispatch} if entry.dispatch is not None else set()
            keys |= self._try(entry.manifest, self._read_manifest) or set()
        for artifact in sorted(keys):
            self._try(artifact, self._read_artifact)
        self.artifacts = len(keys)
        for count, descriptor in enumerate(list(self.descriptors.values()), 1):
            self._progress(f"reading blob {count} of {len(self.descriptors)} {descriptor.name}")
            self._try(descriptor.digest, self._read_blob)

    def _read_manifest(self, name: str) -> set[str]:
        """Return the keys of the manifest's artifacts."""
        manifest = self._store.get_manifest(name)
        for descriptor in (*manifest.documents, *manifest.files):
            self.descriptors[descriptor.digest] = descriptor
        if manifest.files:
            check_file_list(manifest, self._get, self._keyring)
        return {entry.artifact for entry in manifest.entries}

    def _read_artifact(self, key: str) -> None:
        artifact = self._store.get_artifact(key)
        self.descriptors |= {each.digest: each for each in artifact.subject.descriptors}
        self._keyring.check(artifact)

    def _read_blob(self, digest: str) -> None:
        self._get(self.descriptors[digest])

    def _get(self, descriptor: Descriptor) -> bytes:
        return self._store.get_blob(descriptor.digest, descriptor.size, blob_deadline(descriptor.size))

    def _try(self, name: str, read: Callable[[str], T]) -> T | None:
        try:
            return read(name)
        except InductoryError as error:
            if error.retryable:
                raise
            self.findings.append(Finding(name, error.message))
            return None
