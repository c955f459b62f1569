"""Publishing a manifest, after all that it names."""

from __future__ import annotations

from inductory_client.contract.descriptor import check_relative_path
from inductory_client.contract.errors import ArtifactMissing, KeyMismatch, Malformed
from inductory_client.contract.manifest import Manifest
from inductory_client.contract.shape import shape_text
from inductory_client.contract.wire import ManifestStored

from inductory_store.catalog.lifetimes import hold_names, note_used
from inductory_store.catalog.manifests import add_manifest
from inductory_store.store import Store

from .promised import check_blobs, some_of


def put_manifest(store: Store, namespace: str, manifest_id: str, value: Manifest) -> ManifestStored:
    """Keep a manifest. Idempotent; the documents of the first writer stay, and what awaited deletion does.

    Raises KeyMismatch, Malformed for what occurs twice, ArtifactMissing, BlobMissing and SizeMismatch.
    """
    if value.id != manifest_id:
        raise KeyMismatch(f"what was sent has the id {value.id}")
    _check_names(value)
    with store.catalog.write() as connection:
        wanted = {entry.artifact for entry in value.entries}
        missing = wanted - hold_names(connection, "artifact", namespace, wanted)
        if missing:
            raise ArtifactMissing(f"publish these artifacts first: {some_of(missing)}")
        check_blobs(connection, (*value.documents, *value.files))
        hold_names(connection, "manifest", namespace, [manifest_id])
        created = add_manifest(connection, namespace, value, store.clock())
        note_used(connection, "manifest", namespace, [manifest_id], store.clock())
    return ManifestStored(id=manifest_id, created=created)


def _check_names(value: Manifest) -> None:
    places = [(shape_text(entry.shape), entry.submodule_index, entry.backend) for entry in value.entries]
    for what, names in (
        ("entry", places),
        ("document", [check_relative_path(each.name) for each in value.documents]),
        ("file", [check_relative_path(each.name) for each in value.files]),
    ):
        if len(set(names)) < len(names):
            raise Malformed(f"the manifest has one {what} twice")
