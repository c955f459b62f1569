"""What lies where in a vLLM cache folder: found by name, read as bytes, never through a link."""

from __future__ import annotations

import os
import re
import stat
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

from inductory_client.contract.descriptor import BLOB_BYTES_MAX, check_relative_path
from inductory_client.contract.errors import BadSettings, Malformed, StorageFailed, TooLarge

CACHE_NAME = "torch_compile_cache"
AOT_NAME = "torch_aot_compile"
INDUCTOR_NAME = "inductor_cache"
FILES_MAX = 100_000
TREE_BYTES_MAX = 8 << 30

_RANK = re.compile(r"rank_\d{1,6}_\d{1,6}")
_UNFINISHED = re.compile(r".*\.(?:tmp|lock)")


@dataclass(frozen=True)
class Tree:
    """A `torch_compile_cache` folder, or one hash folder of it."""

    root: Path
    """The `torch_compile_cache` folder: what relative paths are relative to."""
    only: str | None = None
    """The one hash folder to read; None for all that lies below the root."""


@dataclass(frozen=True)
class PartFolder:
    """The folder of one captured graph, `<hash>/rank_R_D/<prefix>`."""

    hash: str
    rank: str
    prefix: str

    @property
    def path(self) -> str:
        return f"{self.hash}/{self.rank}/{self.prefix}"

    def holds(self, name: str) -> bool:
        """Whether the relative path `name` lies in here."""
        return name.startswith(f"{self.path}/")


def locate(folder: Path) -> Tree:
    """Find the cache in `folder`: a VLLM_CACHE_ROOT, its torch_compile_cache, or one hash folder below that.

    Raises BadSettings where it is none of them.
    """
    folder = Path(os.path.abspath(folder))
    if not folder.is_dir():
        raise BadSettings(f"{folder} is not a folder")
    if (folder / CACHE_NAME).is_dir():
        return Tree(folder / CACHE_NAME)
    if _has_ranks(folder):
        return Tree(folder.parent, only=folder.name)
    if folder.name == CACHE_NAME or any(_has_ranks(child) for child in folder.iterdir() if child.is_dir()):
        return Tree(folder)
    raise BadSettings(
        f"{folder} is not a vLLM cache: it has neither a {CACHE_NAME} folder"
        " nor <hash>/rank_0_0 folders below it"
    )


def root_above(path: Path) -> Path:
    """Return the `torch_compile_cache` that `path` lies in; its own folder where it lies in none."""
    return next((each for each in path.parents if each.name == CACHE_NAME), path.parent)


def part_folder_of(path: str) -> PartFolder | None:
    """Return the part folder that a relative path lies in, or None: AOT model files lie outside of any."""
    parts = path.split("/")
    if len(parts) < 4 or parts[0] == AOT_NAME or not _RANK.fullmatch(parts[1]):
        return None
    return PartFolder(parts[0], parts[1], parts[2])


def may_travel(name: str) -> bool:
    """Whether the folder or file `name` of a `torch_compile_cache` may be of use elsewhere.

    The Inductor cache beside an AOT model isn't: torch unpacks into it what the parts bring along.
    """
    parts = name.split("/")
    return not _UNFINISHED.fullmatch(parts[-1]) and not (
        parts[0] == AOT_NAME and parts[2:3] == [INDUCTOR_NAME]
    )


def read_files(root: Path, below: str, may: Callable[[str], bool]) -> dict[str, bytes]:
    """Return the bytes of the files in the folder `below` of `root`, by path relative to `root`, in order.

    Folders and files that `may` not travel aren't looked at. Raises Malformed at a link or anything else that
    isn't a plain file, StorageFailed where something can't be read, TooLarge past the bounds.
    """
    files: dict[str, bytes] = {}
    total = 0
    for name in sorted(_names(root, below, may)):
        data = _read(root / name)
        total += len(data)
        if len(files) >= FILES_MAX or total > TREE_BYTES_MAX:
            raise TooLarge(f"{root} holds more than {FILES_MAX} files or {TREE_BYTES_MAX >> 30} GiB")
        files[name] = data
    return files


def _has_ranks(folder: Path) -> bool:
    return any(_RANK.fullmatch(child.name) and child.is_dir() for child in folder.iterdir())


def _names(root: Path, below: str, may: Callable[[str], bool]) -> Iterator[str]:
    """Yield the relative paths of the files, in no order."""
    pending = [below]
    while pending:
        folder = pending.pop()
        try:
            with os.scandir(root / folder) as entries:
                found = list(entries)
        except OSError as error:
            raise StorageFailed(f"{root / folder} can't be listed: {error.strerror}") from error
        for entry in found:
            name = f"{folder}/{entry.name}" if folder else entry.name
            if not may(name):
                continue
            if entry.is_dir(follow_symlinks=False):
                pending.append(name)
            elif entry.is_file(follow_symlinks=False):
                yield _plain(name)
            else:
                kind = "a symbolic link" if entry.is_symlink() else "not a plain file"
                raise Malformed(f"{root / name} is {kind}; a cache that vLLM wrote holds plain files only")


def _plain(name: str) -> str:
    """Return the relative path if every machine can write it. Raises Malformed."""
    try:
        name.encode()
    except UnicodeEncodeError as error:
        raise Malformed(f"{name!r} is not UTF-8") from error
    return check_relative_path(name)


def _read(path: Path) -> bytes:
    """Read one file that is still a plain one, without following a link."""
    try:
        with open(os.open(path, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK), "rb") as file:
            status = os.fstat(file.fileno())
            if not stat.S_ISREG(status.st_mode):
                raise Malformed(f"{path} is not a plain file")
            if status.st_size > BLOB_BYTES_MAX:
                raise TooLarge(f"{path} is larger than {BLOB_BYTES_MAX >> 30} GiB")
            return file.read(BLOB_BYTES_MAX + 1)
    except OSError as error:
        raise StorageFailed(f"{path} can't be read: {error.strerror}") from error
