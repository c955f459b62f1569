"""Triton's cache folder: of each kernel what a load needs, and the list of its files made anew where it lies.

<KEY>/__grp__kernel.json   {"child_paths": {"kernel.cubin": "/absolute/path", ...}}: made anew
      kernel.json          how the kernel is launched
      kernel.cubin         its machine code
      kernel.ttir, ...     what it was before that: left behind, as Triton's own `store_binary_only` does
<KEY>/launcher.so          what Triton had gcc compile: calls a kernel, or asks the driver
"""

from __future__ import annotations

import json
import re
from collections import defaultdict
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Self

TRITON_NAME = "triton_cache"
"""Where kernels are among a build's files, and in a VLLM_CACHE_ROOT that was told of no other folder."""

INTERMEDIATE = ("source", "ttir", "ttgir", "llir", "ptx", "amdgcn")

_KEY = re.compile(r"[A-Z2-7]{52}|[0-9a-f]{64}")
_KEYS = re.compile(rb"(?<![A-Z2-7])[A-Z2-7]{52}(?![A-Z2-7])")
_GROUP = "__grp__"
_BINARIES = ("cubin", "hsaco")
_INDUCTORS = re.compile(r"triton_(?:(?:poi|red|per|tem|for|spl|mix|unk)_.*)?")
"""What Inductor calls the kernels that it writes; `triton_` in place of a name that it found too telling."""
_NAME = re.compile(rf"(?P<folder>(?:.+/)?{TRITON_NAME})/(?P<key>{_KEY.pattern})/(?P<file>[^/]+)")


@dataclass(frozen=True)
class KernelFile:
    """A file of a Triton cache among a build's files."""

    folder: str
    key: str
    file: str

    @classmethod
    def named(cls, name: str) -> Self | None:
        """Return what `name` is in a Triton cache; None where it is in none."""
        found = _NAME.fullmatch(name)
        return cls(**found.groupdict()) if found else None

    @property
    def stem(self) -> str:
        return self.file.rpartition(".")[0]


def may_travel(name: str) -> bool:
    """Whether the folder or file `name` of a Triton cache may be of use elsewhere."""
    key, _, file = name.partition("/")
    if not _KEY.fullmatch(key):
        return False
    return "/" not in file and not file.startswith("tmp.") and file.rpartition(".")[2] not in INTERMEDIATE


def loadable(files: Mapping[str, bytes]) -> dict[str, bytes]:
    """Return those of a Triton cache's files (`<KEY>/<file>`) that a load reads, less the groups.

    A kernel without its group isn't finished: Triton would compile it again.
    """
    grouped = {name.replace(f"/{_GROUP}", "/") for name in files if f"/{_GROUP}" in name}
    binaries = {name.rpartition(".")[0] for name in files if name.rpartition(".")[2] in _BINARIES}
    unfinished = binaries - {name.rpartition(".")[0] for name in grouped}
    return {
        name: data
        for name, data in files.items()
        if f"/{_GROUP}" not in name and name.rpartition(".")[0] not in unfinished and may_travel(name)
    }


def keys_in(data: bytes) -> set[str]:
    """Return the keys of the kernels that a part or model file brings along."""
    return {found.decode() for found in _KEYS.findall(data)}


def without_inductors(files: Mapping[str, bytes], brought: set[str]) -> dict[str, bytes]:
    """Return the files of the kernels that aren't Inductor's: its own come with the parts (`brought`), and
    what lost in tuning nobody asks for.
    """
    inductors = {
        name.partition("/")[0]
        for name in files
        if name.endswith(".json") and _INDUCTORS.fullmatch(name.partition("/")[2].removesuffix(".json"))
    }
    return {name: data for name, data in files.items() if name.partition("/")[0] not in inductors | brought}


def groups(names: Iterable[str]) -> dict[str, list[str]]:
    """Return the groups that the kernels among `names` need, each with the files that it lists."""
    listed: dict[str, list[str]] = defaultdict(list)
    for name in sorted(names):
        kernel = KernelFile.named(name)
        if kernel is not None:
            listed[f"{kernel.folder}/{kernel.key}/{_GROUP}{kernel.stem}.json"].append(kernel.file)
    return {
        group: files
        for group, files in listed.items()
        if len(files) > 1 and group.rpartition(_GROUP)[2] in files
    }


def group_file(files: Iterable[str], folder: str) -> bytes:
    """Return a group whose files lie in `folder`, as Triton writes it."""
    return json.dumps({"child_paths": {file: f"{folder}/{file}" for file in files}}).encode()


def lists_all(group: bytes, files: Iterable[str], folder: str) -> bool:
    """Whether a group that is there lists all of `files` in `folder`; it may list more."""
    try:
        paths = json.loads(group)["child_paths"]
        return all(paths.get(file) == f"{folder}/{file}" for file in files)
    except (ValueError, KeyError, TypeError, AttributeError, RecursionError):
        return False
