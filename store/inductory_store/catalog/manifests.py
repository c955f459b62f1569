"""Rows of `manifest`, `manifest_entry` and `manifest_blob`."""

from __future__ import annotations

from collections.abc import Collection

from inductory_client.contract import wire
from inductory_client.contract.manifest import Manifest
from inductory_client.contract.shape import shape_text
from sqlalchemy import Connection, select

from .artifacts import mark_used
from .batches import among
from .insert import insert_all, insert_first
from .tables import manifest, manifest_blob, manifest_entry


def add_manifest(connection: Connection, namespace: str, value: Manifest, now: float) -> bool:
    """Keep a manifest under its id, and say whether it is new; the first writer's documents stay."""
    row = {
        "namespace": namespace,
        "id": value.id,
        "scheme": value.scheme,
        "graph_digest": value.graph_digest,
        "guards_digest": value.guards_digest,
        "submodules": value.submodules,
        "created_at": now,
        "record": wire.encode(value),
    }
    if not insert_first(connection, manifest, row):
        return False
    insert_all(connection, manifest_entry, _entry_rows(namespace, str(row["id"]), value))
    insert_all(connection, manifest_blob, _blob_rows(namespace, str(row["id"]), value))
    of_manifest = (manifest_entry.c.namespace == namespace, manifest_entry.c.manifest == row["id"])
    mark_used(connection, namespace, select(manifest_entry.c.artifact).where(*of_manifest))
    return True


def manifests(connection: Connection, namespace: str, ids: Collection[str]) -> dict[str, Manifest]:
    """Return manifests by id."""
    query = select(manifest.c.id, manifest.c.record).where(manifest.c.namespace == namespace)
    rows = (row for portion in among(manifest.c.id, ids) for row in connection.execute(query.where(portion)))
    return {row.id: wire.decode(row.record, Manifest) for row in rows}


def _entry_rows(namespace: str, manifest_id: str, value: Manifest) -> list[dict[str, object]]:
    return [
        {
            "namespace": namespace,
            "manifest": manifest_id,
            "shape": shape_text(entry.shape),
            "submodule_index": entry.submodule_index,
            "backend": entry.backend,
            "artifact": entry.artifact,
        }
        for entry in value.entries
    ]


def _blob_rows(namespace: str, manifest_id: str, value: Manifest) -> list[dict[str, object]]:
    return [
        {
            "namespace": namespace,
            "manifest": manifest_id,
            "role": role,
            "position": position,
            "name": each.name,
            "media_type": each.media_type,
            "digest": each.digest,
            "size": each.size,
        }
        for role, descriptors in (("document", value.documents), ("file", value.files))
        for position, each in enumerate(descriptors)
    ]
