"""Writes a build that came from vLLM as the folder that vLLM reads."""

from __future__ import annotations

import os
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

from inductory_client.contract.descriptor import Descriptor, check_relative_path
from inductory_client.contract.digest import digest_of
from inductory_client.contract.errors import Corrupt, DigestMismatch, Malformed
from inductory_client.contract.manifest import PARTS_LIST, Manifest

from .parts_list import relocate_parts_list
from .recorded_path import relative_path
from .tree import CACHE_NAME, part_folder_of
from .writer import FolderWriter

GetBlob = Callable[[Descriptor], bytes]
"""Returns a descriptor's bytes, verified. Raises where they can't be had."""


@dataclass(frozen=True)
class Exported:
    """What an export did."""

    root: Path
    """The `torch_compile_cache` folder."""
    written: int
    unchanged: int
    bytes_written: int
    parts_lists: int
    """Of the files, those whose absolute paths point to the new place now."""


@dataclass(frozen=True)
class _Planned:
    name: str
    descriptor: Descriptor
    relocated: bytes | None
    """The new bytes of a parts list; None where the blob is written as it is."""

    @property
    def digest(self) -> str:
        return self.descriptor.digest if self.relocated is None else digest_of(self.relocated)


def export_folder(
    manifests: Sequence[Manifest],
    to: Path,
    get_blob: GetBlob,
    *,
    force: bool,
    progress: Callable[[str], None],
) -> Exported:
    """Write every file of the manifests below `to`, a VLLM_CACHE_ROOT or a folder named torch_compile_cache.

    Idempotent. Nothing is written where a different file is in the way, unless `force` says to replace it;
    the parts lists come last, so that vLLM never reads of a part that isn't there. Raises Malformed, Corrupt,
    StorageFull, StorageFailed, and what `get_blob` raises.
    """
    absolute = Path(os.path.abspath(to))
    root = absolute if absolute.name == CACHE_NAME else absolute / CACHE_NAME
    base, prefix = (root, "") if absolute.name == CACHE_NAME else (absolute, f"{CACHE_NAME}/")
    writer = FolderWriter(base)
    planned = _plan(_union(manifests), root, get_blob)
    wanted = _wanted(planned, writer, prefix, force=force)
    written_bytes = 0
    for count, item in enumerate(wanted, 1):
        progress(f"writing {count} of {len(wanted)}: {item.name}")
        data = _checked(item.descriptor, get_blob) if item.relocated is None else item.relocated
        writer.write(prefix + item.name, data)
        written_bytes += len(data)
    return Exported(
        root=root,
        written=len(wanted),
        unchanged=len(planned) - len(wanted),
        bytes_written=written_bytes,
        parts_lists=sum(item.relocated is not None for item in planned),
    )


def _union(manifests: Sequence[Manifest]) -> dict[str, Descriptor]:
    """Return the files of all manifests by path. Raises where they contradict each other or lead outside."""
    files: dict[str, Descriptor] = {}
    for manifest in manifests:
        for descriptor in manifest.files:
            name = check_relative_path(descriptor.name)
            if files.setdefault(name, descriptor).digest != descriptor.digest:
                raise Corrupt(f"two manifests of the build hold different files as {name}")
    return files


def _plan(files: dict[str, Descriptor], root: Path, get_blob: GetBlob) -> list[_Planned]:
    """Return what is to be there, in the order of writing."""
    planned = [
        _Planned(name, descriptor, _relocated(descriptor, root, get_blob))
        for name, descriptor in files.items()
    ]
    return sorted(planned, key=lambda item: (item.relocated is not None, _is_model(item.name), item.name))


def _relocated(descriptor: Descriptor, root: Path, get_blob: GetBlob) -> bytes | None:
    """Return a parts list whose paths lie below `root`; None for any other file."""
    folder = part_folder_of(descriptor.name)
    if folder is None or descriptor.name != f"{folder.path}/{PARTS_LIST}":
        return None
    recorded = _checked(descriptor, get_blob)
    return relocate_parts_list(recorded, lambda path: f"{root}/{relative_path(path, folder)}")


def _is_model(name: str) -> bool:
    """An AOT model file names the parts of its folder; it comes after them."""
    return name.endswith("/model")


def _wanted(planned: list[_Planned], writer: FolderWriter, prefix: str, *, force: bool) -> list[_Planned]:
    """Return what isn't there yet. Raises Malformed where another file is in the way."""
    wanted, in_the_way = [], []
    for item in planned:
        there = writer.read(prefix + item.name)
        if there is not None and digest_of(there) == item.digest:
            continue
        wanted.append(item)
        if there is not None:
            in_the_way.append(item.name)
    if in_the_way and not force:
        more = f" and {len(in_the_way) - 3} more" if len(in_the_way) > 3 else ""
        raise Malformed(
            f"{writer.base} holds other files as {', '.join(in_the_way[:3])}{more}; nothing was written."
            " --force replaces them"
        )
    return wanted


def _checked(descriptor: Descriptor, get_blob: GetBlob) -> bytes:
    """Return the bytes of a file, whoever delivered them. Raises DigestMismatch."""
    data = get_blob(descriptor)
    if digest_of(data) != descriptor.digest:
        raise DigestMismatch(f"the blob of {descriptor.name} isn't {descriptor.digest}")
    return data
