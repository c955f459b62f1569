"""Writes a build that came from vLLM as the folders that vLLM and Triton read."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

from inductory_client.contract.descriptor import Descriptor, check_relative_path
from inductory_client.contract.digest import digest_of
from inductory_client.contract.errors import Corrupt, DigestMismatch
from inductory_client.contract.manifest import PARTS_LIST, Manifest

from . import triton_cache
from .normal_form import normal_form, placed
from .places import Places
from .tree import may_travel
from .writer import FolderWriter

GetBlob = Callable[[Descriptor], bytes]
"""Returns a descriptor's bytes, verified. Raises where they can't be had."""


@dataclass(frozen=True)
class Exported:
    """What an export did."""

    written: int
    unchanged: int
    kept: tuple[str, ...]
    """Files that are others here, and were left as they are."""
    bytes_written: int
    relocated: int
    """Of the files written, those that name the place that they lie in now."""


@dataclass(frozen=True)
class _Planned:
    """A file that is to be there."""

    name: str
    descriptor: Descriptor | None
    """None for a group of Triton's, which is made here."""
    group: tuple[str, ...] = ()


def export_folder(
    manifests: Sequence[Manifest],
    places: Places,
    get_blob: GetBlob,
    *,
    force: bool,
    progress: Callable[[str], None],
    expect: Callable[[Sequence[Descriptor]], None] = lambda wanted: None,
) -> Exported:
    """Write every file of the manifests where vLLM and Triton look for it.

    Idempotent, and each file is whole or not there; lists come last, so that nothing is read of a part that
    isn't there. A different file that is there stays, as whoever wrote it has loaded from it, unless `force`
    says to replace it. `expect` is told what will be asked for. Raises Malformed, Corrupt, StorageFull,
    StorageFailed, and what `get_blob` and `expect` raise.
    """
    export = _Export(places, get_blob)
    planned = _plan(_union(manifests))
    wanted, kept = [], []
    for item in planned:
        there = export.there(item)
        if there is None or (force and not export.is_same(item, there)):
            wanted.append(item)
        elif not export.is_same(item, there):
            kept.append(item.name)
    expect([item.descriptor for item in wanted if item.descriptor is not None])
    for count, item in enumerate(wanted, 1):
        progress(f"writing {count} of {len(wanted)}: {item.name}")
        export.write(item)
    return Exported(
        written=len(wanted),
        unchanged=len(planned) - len(wanted) - len(kept),
        kept=tuple(kept),
        bytes_written=export.bytes_written,
        relocated=export.relocated,
    )


class _Export:
    """One export under way."""

    def __init__(self, places: Places, get_blob: GetBlob) -> None:
        self.bytes_written = 0
        self.relocated = 0
        self._places = places
        self._root = str(places.compiled)
        self._get_blob = get_blob
        self._writers: dict[Path, FolderWriter] = {}

    def there(self, item: _Planned) -> bytes | None:
        writer, name = self._where(item.name)
        return writer.read(name)

    def is_same(self, item: _Planned, there: bytes) -> bool:
        """Whether what is there does what the build's file would do.

        It does if it travels as that one, for nobody loads the rest of it. Builds of older clients travel in
        the form of the place that they came from: then the file itself has to be looked at.
        """
        if item.descriptor is None:
            return triton_cache.lists_all(there, item.group, self._folder(item.name))
        digest = item.descriptor.digest
        if digest != digest_of(there) and digest != digest_of(normal_form(item.name, there)):
            return there == placed(item.name, self._checked(item.descriptor), self._root)
        return placed(item.name, there, self._root) == there

    def write(self, item: _Planned) -> None:
        if item.descriptor is None:
            data = triton_cache.group_file(item.group, self._folder(item.name))
        else:
            travelled = self._checked(item.descriptor)
            data = placed(item.name, travelled, self._root)
            self.relocated += data != travelled
        writer, name = self._where(item.name)
        writer.write(name, data)
        self.bytes_written += len(data)

    def _where(self, name: str) -> tuple[FolderWriter, str]:
        base, inside = self._places.of(name)
        return self._writers.setdefault(base, FolderWriter(base)), inside

    def _folder(self, name: str) -> str:
        base, inside = self._places.of(name)
        return str((base / inside).parent)

    def _checked(self, descriptor: Descriptor) -> bytes:
        """Return the bytes of a file, whoever delivered them. Raises DigestMismatch."""
        data = self._get_blob(descriptor)
        if digest_of(data) != descriptor.digest:
            raise DigestMismatch(f"the blob of {descriptor.name} isn't {descriptor.digest}")
        return data


def _union(manifests: Sequence[Manifest]) -> dict[str, Descriptor]:
    """Return the files of all manifests by path. Raises where they contradict each other or lead outside."""
    files: dict[str, Descriptor] = {}
    for manifest in manifests:
        for descriptor in manifest.files:
            name = check_relative_path(descriptor.name)
            if files.setdefault(name, descriptor).digest != descriptor.digest:
                raise Corrupt(f"two manifests of the build hold different files as {name}")
    return {name: descriptor for name, descriptor in files.items() if may_travel(name)}


def _plan(files: dict[str, Descriptor]) -> list[_Planned]:
    """Return what is to be there, in the order of writing: lists after what they list."""
    planned = [_Planned(name, descriptor) for name, descriptor in files.items()]
    planned += [_Planned(name, None, tuple(group)) for name, group in triton_cache.groups(files).items()]
    return sorted(planned, key=lambda item: (_rank(item), item.name))


def _rank(item: _Planned) -> int:
    if item.descriptor is None or item.name.endswith(f"/{PARTS_LIST}"):
        return 2
    return 1 if item.name.endswith("/model") else 0
