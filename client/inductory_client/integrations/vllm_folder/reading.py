"""Reads a vLLM cache folder: an artifact a compiled part, a manifest a captured graph, one build."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path

import msgspec

from inductory_client.contract.build import Build, BuildEntry
from inductory_client.contract.canonical_json import digest_of_json
from inductory_client.contract.digest import digest_of
from inductory_client.contract.errors import BadSettings, Malformed
from inductory_client.contract.manifest import BLUEPRINT, PARTS_LIST
from inductory_client.publication import ManifestDraft, Publication

from .factors import common_target, sources_digest
from .gathering import gather
from .graph import Graph, Sign, manifest_of, read_graph
from .tree import PartFolder, locate, part_folder_of


@dataclass(frozen=True)
class ReadFolder:
    """A vLLM cache folder, ready to be published."""

    publications: tuple[Publication, ...]
    """One a manifest, in the order they are to be sent; the last carries the build."""
    build: Build
    files: int
    file_bytes: int
    inside_model_files: int
    """Parts that have no files of their own, since vLLM keeps them inside the AOT model file."""
    without_model: tuple[str, ...]
    """AOT folders that hold no model, so that a start from them captures its graph anew."""


def read_folder(
    folder: Path, *, namespace: str, model: str, sign: Sign, triton: Path | None = None
) -> ReadFolder:
    """Read a VLLM_CACHE_ROOT, its torch_compile_cache, or one hash folder below that, and Triton's own folder
    where `triton` names one: what a start needs of them, in the form in which it travels.

    Equal folders give equal publications. Files that lie outside of any part folder (AOT model files,
    Triton's kernels, the older form's Inductor cache) go with the first manifest, so that a build holds each
    file once. Raises BadSettings where the folder is no such cache, Malformed, StorageFailed, TooLarge.
    """
    tree = locate(folder)
    gathered = gather(tree, triton)
    files = gathered.files
    folders = _part_folders(files)
    if not folders:
        raise BadSettings(
            f"{tree.root} holds no <hash>/rank_0_0/<prefix> folder: vLLM hasn't compiled anything there"
        )
    created_at = _newest(tree.root, [f"{found.path}/{PARTS_LIST}" for found in folders])
    graphs = [read_graph(found, files, created_at) for found in folders]
    shared = {name: data for name, data in files.items() if not any(found.holds(name) for found in folders)}
    manifests = [
        manifest_of(graph, files, shared if graph is graphs[0] else {}, sign=sign) for graph in graphs
    ]
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
        file_bytes=sum(map(len, files.values())),
        inside_model_files=sum(graph.inside_model_files for graph in graphs),
        without_model=gathered.without_model,
    )


def _part_folders(files: Iterable[str]) -> list[PartFolder]:
    """Return the folders that hold a captured graph: those with a parts list or a blueprint."""
    found = {
        folder
        for name in files
        if name.endswith((f"/{PARTS_LIST}", f"/{BLUEPRINT}")) and (folder := part_folder_of(name))
    }
    return sorted(found, key=lambda folder: folder.path)


def _build(
    graphs: list[Graph],
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
        model=model or " ".join(sorted({graph.folder.hash for graph in graphs}))[:400],
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
