"""Reads a vLLM cache folder: an artifact a compiled part, a manifest a captured graph, one build."""

from __future__ import annotations

import re
from collections.abc import Callable
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path

import msgspec

from inductory_client.contract.build import Build, BuildEntry
from inductory_client.contract.canonical_json import digest_of_json
from inductory_client.contract.descriptor import FILE, PYTHON
from inductory_client.contract.digest import digest_of
from inductory_client.contract.errors import Malformed
from inductory_client.contract.key import foreign_key
from inductory_client.contract.manifest import BLUEPRINT, DISPATCH, PARTS_LIST, ManifestEntry
from inductory_client.contract.provenance import Provenance
from inductory_client.contract.statement import Signature
from inductory_client.contract.target import Target
from inductory_client.publication import Draft, DraftBlob, ManifestDraft, Publication

from .factors import FACTORS_NAME, common_target, sources_digest, target_of
from .file_list import (
    SIGNATURE_MEDIA_TYPE,
    SIGNATURE_NAME,
    VLLM_SCHEME,
    files_statement,
    signature_document,
)
from .parts_list import Part, parse_parts_list
from .recorded_path import relative_path
from .tree import PartFolder, locate, part_folder_of, read_tree

Sign = Callable[[bytes], Signature]

_UNGUARDED = digest_of(b"")
"""vLLM drops the guards of what it compiles."""
_SUBMODULE = re.compile(rb"\bsubmod_(\d{1,6})\b")


@dataclass(frozen=True)
class ReadFolder:
    """A vLLM cache folder, ready to be published."""

    publications: tuple[Publication, ...]
    """One a manifest, in the order they are to be sent; the last carries the build."""
    build: Build
    files: int
    bytes: int
    inside_model_files: int
    """Parts that have no files of their own, since vLLM keeps them inside the AOT model file."""


@dataclass(frozen=True)
class _Graph:
    """What one part folder holds."""

    folder: PartFolder
    target: Target
    artifacts: tuple[Draft, ...]
    entries: tuple[ManifestEntry, ...]
    inside_model_files: int


def read_folder(folder: Path, *, namespace: str, model: str, sign: Sign) -> ReadFolder:
    """Read a VLLM_CACHE_ROOT, its torch_compile_cache, or one hash folder below that.

    Equal folders give equal publications. Files that lie outside of any part folder (AOT model files) go with
    the first manifest, so that a build holds each file once. Raises Malformed, StorageFailed, TooLarge.
    """
    tree = locate(folder)
    files = read_tree(tree)
    folders = sorted(
        {found for name in files if (found := part_folder_of(name))}, key=lambda found: found.path
    )
    if not folders:
        raise Malformed(
            f"{tree.root} holds no <hash>/rank_0_0/<prefix> folder: vLLM hasn't compiled anything there"
        )
    created_at = _newest(tree.root, [f"{found.path}/{PARTS_LIST}" for found in folders])
    graphs = [_read_graph(found, files, created_at) for found in folders]
    manifests = [_manifest(graph, files, first=graph is graphs[0], sign=sign) for graph in graphs]
    build = _build(graphs, manifests, files, namespace=namespace, model=model)
    publications = [
        Publication(
            artifacts=graph.artifacts, manifest=manifest, build=build if graph is graphs[-1] else None
        )
        for graph, manifest in zip(graphs, manifests, strict=True)
    ]
    return ReadFolder(
        publications=tuple(publications),
        build=build,
        files=len(files),
        bytes=sum(map(len, files.values())),
        inside_model_files=sum(graph.inside_model_files for graph in graphs),
    )


def _read_graph(folder: PartFolder, files: dict[str, bytes], created_at: str) -> _Graph:
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
    return _Graph(folder, target, tuple(artifacts), tuple(entries), len(parts) - len(entries))


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


def _manifest(graph: _Graph, files: dict[str, bytes], *, first: bool, sign: Sign) -> ManifestDraft:
    inside = f"{graph.folder.path}/"
    own = tuple(
        DraftBlob(FILE, name, data)
        for name, data in files.items()
        if name.startswith(inside) or (first and part_folder_of(name) is None)
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


def _build(
    graphs: list[_Graph],
    manifests: list[ManifestDraft],
    files: dict[str, bytes],
    *,
    namespace: str,
    model: str,
) -> Build:
    """Group the manifests. The key names every file, so that a folder compiled anew is a build of its own."""
    targets = [graph.target for graph in graphs]
    prefixes = sorted({graph.folder.prefix for graph in graphs})
    build = Build(
        namespace=namespace,
        component=prefixes[0] if len(prefixes) == 1 else "",
        model=model or " ".join(sorted({graph.folder.hash for graph in graphs})),
        sources=sources_digest(targets),
        config=digest_of_json({name: digest_of(data) for name, data in files.items()}),
        rank_layout={"ranks": " ".join(sorted({graph.folder.rank for graph in graphs}))},
        target=common_target(targets),
        entries=tuple(
            BuildEntry(name=graph.folder.path[-200:], manifest=manifest.manifest.id)
            for graph, manifest in zip(graphs, manifests, strict=True)
        ),
    )
    try:
        return msgspec.convert(msgspec.to_builtins(build), Build)
    except msgspec.ValidationError as error:
        raise Malformed(f"the folder's names don't fit a build: {error}") from error


def _newest(root: Path, names: list[str]) -> str:
    """Return when the newest of the files was written: the nearest there is to the time of compiling."""
    times = [(root / name).stat().st_mtime for name in names if (root / name).is_file()]
    return datetime.fromtimestamp(max(times, default=root.stat().st_mtime), UTC).isoformat(timespec="seconds")
