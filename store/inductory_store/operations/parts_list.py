"""The parts list of a build, as vLLM writes it: `vllm_compile_cache.py`, a dict literal."""

from __future__ import annotations

import pprint
from typing import Any, Literal

from inductory_client.contract import wire
from inductory_client.contract.artifact import Artifact
from inductory_client.contract.errors import Malformed
from inductory_client.contract.manifest import Manifest
from inductory_client.contract.shape import Shape, shape_text

from inductory_store.catalog.artifacts import artifact_records
from inductory_store.store import Store

from .read_build import read_build, read_manifest

RECORDS_BYTES_MAX = 256 << 20
"""Most bytes of artifacts' records that are read for one parts list."""

KeyForm = Literal["newer", "older"]
"""Newer: ((1, 2048), 0, 'inductor_standalone') -> {'graph_handle': (name, path), 'cache_key': key}.
Older: (None, 0, 'inductor') -> (key, path)."""


def parts_list(
    store: Store, namespace: str, key: str, *, form: KeyForm, manifest_id: str | None, folder: str
) -> str:
    """Return the parts list of a build's only manifest, or of `manifest_id`; paths are below `folder`.

    A parts list is of one graph: raises Malformed where the build has several and none is named; NotFound.
    """
    named = list(dict.fromkeys(entry.manifest for entry in read_build(store, namespace, key).entries))
    if manifest_id is None and len(named) != 1:
        raise Malformed(
            f"the build has {len(named)} manifests; add &manifest= with one of {', '.join(named)}"
        )
    if manifest_id is not None and manifest_id not in named:
        raise Malformed(f"the build has no manifest {manifest_id}")
    manifest = read_manifest(store, namespace, manifest_id or named[0])
    with store.catalog.read() as connection:
        keys = {entry.artifact for entry in manifest.entries}
        records = artifact_records(connection, namespace, keys, bytes_max=RECORDS_BYTES_MAX)
    artifacts = {each: wire.decode(record, Artifact) for each, record in records.items()}
    return parts_text(manifest, artifacts, form, folder)


def parts_text(manifest: Manifest, artifacts: dict[str, Artifact], form: KeyForm, folder: str) -> str:
    """Return the dict literal, in the very layout that vLLM gives it.

    Raises Malformed where the older form, which knows no ranges, would have two parts of one name.
    """
    parts: dict[Any, Any] = {}
    for entry in manifest.entries:
        artifact = artifacts.get(entry.artifact)
        if artifact is None:
            continue
        cache_key = artifact.subject.scheme_key or entry.artifact
        name = _file_name(artifact, entry.shape, entry.submodule_index)
        path = f"{folder.rstrip('/')}/{name}" if folder else name
        place = (_shape_in(form, entry.shape), entry.submodule_index, entry.backend)
        if place in parts:
            raise Malformed(f"two parts are {place} in the {form} form")
        parts[place] = (
            (cache_key, path) if form == "older" else {"graph_handle": (name, path), "cache_key": cache_key}
        )
    return pprint.PrettyPrinter(indent=4).pformat(parts)


def _shape_in(form: KeyForm, shape: Shape) -> Shape:
    """Newer versions write every shape as a range; to older ones all but a fixed size is None."""
    if form == "older":
        return None if isinstance(shape, tuple) else shape
    return (shape, shape) if isinstance(shape, int) else shape


def _file_name(artifact: Artifact, shape: Shape, index: int) -> str:
    """Return what the artifact's file is called: as its publisher named it, or as vLLM would."""
    loaded = artifact.subject.loaded or artifact.subject.descriptors
    if loaded[0].name:
        return loaded[0].name.rsplit("/", 1)[-1]
    return f"artifact_compile_range_{shape_text(shape).replace('-', '_')}_subgraph_{index}"
