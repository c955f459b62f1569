"""One kind of file of the local CAS, spread over folders by the first two hex digits of their names."""

from __future__ import annotations

import contextlib
import os
import secrets
import stat
from collections.abc import Iterator, Sequence
from pathlib import Path

from .contract.descriptor import BLOB_BYTES_MAX
from .contract.digest import is_digest
from .trouble import warn_once

FILE_BYTES_MAX = BLOB_BYTES_MAX + 16
# Neither a link nor a pipe that somebody laid there leads a reader away or holds it.
_READ = os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC
_APPEND = os.O_WRONLY | os.O_APPEND | os.O_CREAT | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC
TEMPORARY = ".tmp-"
"""How the names of files begin that aren't whole yet."""


class CasFolder:
    """Files named by 64 hex digits and a suffix. No call raises for the state of the disk."""

    def __init__(self, root: Path, below: Path, suffix: str) -> None:
        self._root = root
        self._below = below
        self._suffix = suffix
        self._usable: bool | None = None

    @property
    def path(self) -> Path:
        return self._root / self._below

    def read(self, name: str, touch: bool = True) -> bytes | None:
        """Return a file's bytes, None where there are none to read. Marks it as used just now if `touch`."""
        path = self._path(name)
        if path is None:
            return None
        try:
            with open(os.open(path, _READ), "rb", buffering=0) as file:
                status = os.fstat(file.fileno())
                whole = stat.S_ISREG(status.st_mode) and status.st_size <= FILE_BYTES_MAX
                data = file.read() if whole else b""
        except FileNotFoundError:
            return None
        except OSError as error:
            self._warn("read", error)
            return None
        if touch:
            self._touch(path)
        return data

    def touch(self, name: str, size: int) -> bool:
        """Whether a file of that size is there; if so, it is marked as used just now."""
        path = self._path(name)
        if path is None:
            return False
        try:
            status = os.lstat(path)
        except OSError:
            return False
        if not stat.S_ISREG(status.st_mode) or status.st_size != size:
            return False
        self._touch(path)
        return True

    def write(self, name: str, parts: Sequence[bytes]) -> Path | None:
        """Write a file, whole or not at all, over an older one; None where that can't be done.

        Any number of processes may write one name: each has its own temporary file; the last rename stays.
        """
        path = self._path(name, create=True)
        if path is None:
            return None
        temporary = path.with_name(f"{TEMPORARY}{os.getpid()}-{secrets.token_hex(8)}")
        try:
            descriptor = os.open(temporary, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o600)
            try:
                with open(descriptor, "wb", buffering=0) as file:
                    for part in parts:
                        _write_whole(file.fileno(), part)
                os.rename(temporary, path)
            except BaseException:
                with contextlib.suppress(OSError):
                    os.unlink(temporary)
                raise
        except OSError as error:
            self._warn("written", error)
            return None
        return path

    def append(self, name: str, head: bytes, data: bytes) -> int | None:
        """Add to the end of a file, in one write, and return how long it is now; None where that fails.

        An empty file begins with `head`. Processes that begin one together write it twice, and a full disk
        leaves a part of what was written: whoever reads such a file must stand that.
        """
        path = self._path(name, create=True)
        if path is None:
            return None
        try:
            with open(os.open(path, _APPEND, 0o600), "ab", buffering=0) as file:
                status = os.fstat(file.fileno())
                if not stat.S_ISREG(status.st_mode):
                    return None
                _write_whole(file.fileno(), data if status.st_size else head + data)
                return os.fstat(file.fileno()).st_size
        except OSError as error:
            self._warn("written", error)
            return None

    def drop(self, name: str) -> None:
        path = self._path(name)
        if path is not None:
            with contextlib.suppress(OSError):
                os.unlink(path)

    def names(self) -> Iterator[str]:
        """Yield the names of all whole files, sorted."""
        for path in sorted(self.files(), key=lambda entry: entry.name):
            name = path.name.removesuffix(self._suffix)
            if is_digest(name) and path.name == name + self._suffix:
                yield name

    def files(self) -> Iterator[os.DirEntry[str]]:
        """Yield every file, temporary ones too."""
        if not self._check(create=False):
            return
        for folder in _entries(self.path):
            if folder.is_dir(follow_symlinks=False):
                yield from _entries(folder.path)

    def _path(self, name: str, create: bool = False) -> Path | None:
        """Return where `name` lies; None where the folder can't be used. Only digests make paths."""
        if not is_digest(name):
            raise ValueError(f"{name!r} isn't a name of the local CAS")
        if not self._check(create):
            return None
        folder = self.path / name[:2]
        if create:
            try:
                folder.mkdir(mode=0o700, exist_ok=True)
            except OSError as error:
                self._warn("written", error)
                return None
        return folder / (name + self._suffix)

    def _check(self, create: bool) -> bool:
        """Whether the folder is there and ours alone; the answer is kept once there is a folder."""
        if self._usable is None:
            try:
                if create:
                    _make(self._root, self._below)
                self._usable = self._is_ours()
            except FileNotFoundError:
                return False
            except OSError as error:
                self._warn("used", error)
                self._usable = False
        return self._usable

    def _is_ours(self) -> bool:
        """Check the folders on the way. The superuser may own the root, as it does of a mounted volume."""
        owners = {os.geteuid(), 0}
        for path in (self._root, *_steps(self._root, self._below)):
            status = os.stat(path) if path == self._root else os.lstat(path)
            if not stat.S_ISDIR(status.st_mode) or status.st_uid not in owners:
                warn_once(f"cas:{path}", "the cache folder %s belongs to another user; it isn't used", path)
                return False
            if path != self._root and status.st_mode & 0o077 and status.st_uid == os.geteuid():
                _close_to_others(path, status.st_mode)
            owners = {os.geteuid()}
        return True

    def _touch(self, path: Path) -> None:
        with contextlib.suppress(OSError):  # a read-only folder keeps no order of use, and needs none
            os.utime(path)

    def _warn(self, what: str, error: OSError) -> None:
        reason = error.strerror or type(error).__name__
        kind = f"cas:{self._root}:{what}:{reason}"
        warn_once(kind, "the cache %s can't be %s: %s", self.path, what, reason)


def _steps(root: Path, below: Path) -> list[Path]:
    return [root.joinpath(*below.parts[:depth]) for depth in range(1, len(below.parts) + 1)]


def _make(root: Path, below: Path) -> None:
    root.mkdir(mode=0o700, parents=True, exist_ok=True)
    for path in _steps(root, below):
        path.mkdir(mode=0o700, exist_ok=True)


def _close_to_others(path: Path, mode: int) -> None:
    """Take the rights of others away and leave ours: who made a folder read-only meant it."""
    # On a read-only mount that can't be done, and needn't.
    with contextlib.suppress(OSError):
        os.chmod(path, mode & 0o700)


def _entries(path: str | Path) -> list[os.DirEntry[str]]:
    try:
        with os.scandir(path) as entries:
            return list(entries)
    except OSError:
        return []


def _write_whole(descriptor: int, data: bytes) -> None:
    rest = memoryview(data)
    while rest:
        rest = rest[os.write(descriptor, rest) :]
