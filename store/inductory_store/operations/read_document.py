"""Reading the documents of a build: its blueprint, its dispatch."""

from __future__ import annotations

from inductory_client.contract.errors import NotFound

from inductory_store.store import Store

from .get_blob import Body, read_blob
from .read_build import read_build, read_manifest


def read_document(store: Store, namespace: str, key: str, manifest_id: str, name: str) -> tuple[Body, int]:
    """Return a document of one of the build's manifests, and its size. Raises NotFound."""
    build = read_build(store, namespace, key)
    if manifest_id not in {entry.manifest for entry in build.entries}:
        raise NotFound(f"the build has no manifest {manifest_id}")
    documents = {each.name: each for each in read_manifest(store, namespace, manifest_id).documents}
    found = documents.get(name)
    if found is None:
        raise NotFound(
            f"the manifest has no document {name}; it has {', '.join(sorted(documents)) or 'none'}"
        )
    return read_blob(store, found.digest, found.size, 0, found.size), found.size
