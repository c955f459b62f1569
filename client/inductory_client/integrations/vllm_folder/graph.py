"""One part folder: the captured graph that it holds, its compiled parts and its documents."""

from __future__ import annotations

import re
from collections.abc import Callable
from dataclasses import dataclass

from inductory_client.contract.descriptor import FILE, PYTHON
from inductory_client.contract.digest import digest_of
from inductory_client.contract.errors import Malformed
from inductory_client.contract.key import foreign_key
from inductory_client.contract.manifest import BLUEPRINT, DISPATCH, PARTS_LIST, ManifestEntry
from inductory_client.contract.provenance import Provenance
from inductory_client.contract.statement import Signature
from inductory_client.contract.target import Target
from inductory_client.publication import Draft, DraftBlob, ManifestDraft

from .factors import FACTORS_NAME, target_of
from .file_list import (
    SIGNATURE_MEDIA_TYPE,
    SIGNATURE_NAME,
    VLLM_SCHEME,
    files_statement,
    signature_document,
)
from .parts_list import Part, parse_parts_list
from .recorded_path import relative_path
from .tree import PartFolder

Sign = Callable[[bytes], Signature]

_UNGUARDED = digest_of(b"")
"""vLLM drops the guards of what it compiles."""
_SUBMODULE = re.compile(rb"\bsubmod_(\d{1,6})\b")


@dataclass(frozen=True)
class Graph:
    """What one part folder holds."""

    folder: PartFolder
    target: Target
    artifacts: tuple[Draft, ...]
    entries: tuple[ManifestEntry, ...]
    inside_model_files: int


def read_graph(folder: PartFolder, files: dict[str, bytes], created_at: str) -> Graph:
    target = target_of(folder, files.get(f"{folder.path}/{FACTORS_NAME}"))
    parts = parse_parts_list(files.get(f"{folder.path}/{PARTS_LIST}", b"{}"))
    provenance = Provenance(builder=VLLM_SCHEME, created_at=created_at)
    artifacts, entries = [], []
    for part in parts:
        if part.path is None:
            continue
        blobs = _blobs(relative_path(part.path, folder), files, folder)
        artifacts.append(_draft(part, blobs, target, provenance))
        entries.append(_entry(part, target))
    return Graph(folder, target, tuple(artifacts), tuple(entries), len(parts) - len(entries))


def _blobs(name: str, files: dict[str, bytes], folder: PartFolder) -> tuple[DraftBlob, ...]:
    """Return the compiled part called `name`: one file, or the files of an unpacked folder."""
    if name in files:
        return (DraftBlob(FILE, name.rsplit("/", 1)[-1], files[name]),)
    inside = f"{name}/"
    unpacked = tuple(
        DraftBlob(FILE, path.removeprefix(inside), data)
        for path, data in files.items()
        if path.startswith(inside)
    )
    if not unpacked:
        raise Malformed(f"the parts list of {folder.path} names {name}, which isn't there")
    return unpacked


def _draft(part: Part, blobs: tuple[DraftBlob, ...], target: Target, provenance: Provenance) -> Draft:
    return Draft(
        scheme=VLLM_SCHEME,
        scheme_key=part.cache_key,
        shape=part.shape,
        backend=part.backend,
        target=target,
        blobs=blobs,
        provenance=provenance,
    )


def _entry(part: Part, target: Target) -> ManifestEntry:
    key = foreign_key(
        scheme=VLLM_SCHEME,
        key=part.cache_key,
        shape=part.shape,
        backend=part.backend,
        target_fingerprint=target.fingerprint,
    )
    return ManifestEntry(
        shape=part.shape, submodule_index=part.submodule_index, backend=part.backend, artifact=key
    )


def manifest_of(
    graph: Graph, files: dict[str, bytes], shared: dict[str, bytes], *, sign: Sign
) -> ManifestDraft:
    """Return the manifest of a graph, which holds its folder's files and the `shared` ones."""
    inside = f"{graph.folder.path}/"
    own = tuple(
        DraftBlob(FILE, name, data)
        for name, data in files.items()
        if graph.folder.holds(name) or name in shared
    )
    documents = [
        DraftBlob(PYTHON, name, files[inside + name])
        for name in (BLUEPRINT, DISPATCH, PARTS_LIST)
        if inside + name in files
    ]
    signature = sign(files_statement([blob.descriptor for blob in own]))
    documents.append(DraftBlob(SIGNATURE_MEDIA_TYPE, SIGNATURE_NAME, signature_document(signature)))
    blueprint = files.get(inside + BLUEPRINT, b"")
    return ManifestDraft(
        scheme=VLLM_SCHEME,
        graph_digest=digest_of(blueprint),
        guards_digest=_UNGUARDED,
        submodules=len(set(_SUBMODULE.findall(blueprint))),
        entries=graph.entries,
        documents=tuple(documents),
        files=own,
    )
