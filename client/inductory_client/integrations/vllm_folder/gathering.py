"""Gathers what a start needs of a vLLM cache, wherever it lies, in the form in which it travels.

    torch_compile_cache/<hash>/rank_0_0/<prefix>/...              as it lies there
                        torch_aot_compile/<sha256>/rank_0_0/model
    modelinfos/*.json                                             modelinfos/...
    inductor_cache/triton/0/<KEY>/... of the process that compiled,
    and Triton's own folder                                       triton_cache/<KEY>/...

A process that compiles puts the kernels of vLLM's own Python into Inductor's folder, where one that loads
doesn't look: its kernels come from Triton's own folder.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

from inductory_client.contract.errors import Malformed

from . import triton_cache
from .normal_form import normal_form
from .places import MODEL_INFOS_NAME
from .tree import AOT_NAME, CACHE_NAME, INDUCTOR_NAME, Tree, may_travel, read_files
from .triton_cache import TRITON_NAME, KernelFile


@dataclass(frozen=True)
class Gathered:
    """A cache's files by the names under which they travel."""

    files: dict[str, bytes]
    without_model: tuple[str, ...]
    """AOT folders that hold no model: the process that compiled was killed before it saved one."""


def gather(tree: Tree, triton: Path | None) -> Gathered:
    """Read a cache, and Triton's own folder where `triton` names one. One hash folder is read alone.

    Raises Malformed, StorageFailed and TooLarge.
    """
    files = _with_kernels_slimmed(read_files(tree.root, tree.only or "", may_travel))
    for name in files:
        if name.partition("/")[0] in (MODEL_INFOS_NAME, TRITON_NAME):
            raise Malformed(f"{tree.root / name} has a name that stands for another folder")
    if tree.only is not None:
        return Gathered(_normal(files), ())
    normal = _normal(files)
    whole = tree.root.name == CACHE_NAME
    if whole and (tree.root.parent / MODEL_INFOS_NAME).is_dir():
        infos = read_files(tree.root.parent, MODEL_INFOS_NAME, lambda name: name.endswith(".json"))
        normal |= infos
    folders = sorted(tree.root.glob(f"{AOT_NAME}/*/{INDUCTOR_NAME}/triton/*/"))
    folders += [tree.root.parent / TRITON_NAME] if whole else []
    folders += [triton] if triton is not None else []
    normal |= _normal(_kernels(folders, normal.values()))
    return Gathered(dict(sorted(normal.items())), _without_model(tree, files))


def _normal(files: dict[str, bytes]) -> dict[str, bytes]:
    return {name: normal_form(name, data) for name, data in files.items()}


def _kernels(folders: Iterable[Path], others: Iterable[bytes]) -> dict[str, bytes]:
    """Return the kernels that the parts don't bring along; of equal keys the first."""
    found: dict[str, bytes] = {}
    for folder in folders:
        if folder.is_dir():
            found = triton_cache.loadable(read_files(folder, "", triton_cache.may_travel)) | found
    brought = {key for data in others for key in triton_cache.keys_in(data)} if found else set()
    kept = triton_cache.without_inductors(found, brought)
    return {f"{TRITON_NAME}/{name}": data for name, data in kept.items()}


def _with_kernels_slimmed(files: dict[str, bytes]) -> dict[str, bytes]:
    """Leave out what no load reads of the Triton caches that older forms keep among the parts."""
    caches: dict[str, dict[str, bytes]] = defaultdict(dict)
    others = {}
    for name, data in files.items():
        kernel = KernelFile.named(name)
        if kernel is None:
            others[name] = data
        else:
            caches[kernel.folder][f"{kernel.key}/{kernel.file}"] = data
    for folder, inside in caches.items():
        others |= {f"{folder}/{name}": data for name, data in triton_cache.loadable(inside).items()}
    return dict(sorted(others.items()))


def _without_model(tree: Tree, files: Iterable[str]) -> tuple[str, ...]:
    whole = {name.split("/")[1] for name in files if name.startswith(f"{AOT_NAME}/")}
    there = sorted(folder.name for folder in tree.root.glob(f"{AOT_NAME}/*/"))
    return tuple(name for name in there if name not in whole)
