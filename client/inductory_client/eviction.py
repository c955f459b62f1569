"""Eviction: which files of the local CAS go when there are too many bytes; one process at a time does it."""

from __future__ import annotations

import contextlib
import fcntl
import os
import time
from collections.abc import Iterable, Iterator
from pathlib import Path

from msgspec import Struct

from .cas_folder import TEMPORARY, CasFolder

LOCK_NAME = "evict.lock"
LEAST_FULL = 0.9
"""Down to which part of the bytes allowed an eviction goes, so that the next one isn't due at once."""
TEMPORARY_S_MAX = 3600.0
"""Age at which a temporary file was left by a process that died."""


class CasFile(Struct, frozen=True):
    """A file as eviction sees it."""

    used_ns: int
    path: str
    size: int


def condemned(files: Iterable[CasFile], bytes_max: int, keep: str | None) -> list[CasFile]:
    """Return what must go, the least recently used first; nothing while `bytes_max` isn't passed.

    `keep`, which was just written, stays.
    """
    oldest_first = sorted(files, key=lambda file: (file.used_ns, file.path))
    total = sum(file.size for file in oldest_first)
    if total <= bytes_max:
        return []
    gone: list[CasFile] = []
    for file in oldest_first:
        if total <= bytes_max * LEAST_FULL:
            break
        if file.path != keep:
            gone.append(file)
            total -= file.size
    return gone


def evict(folders: Iterable[CasFolder], root: Path, bytes_max: int, keep: Path | None) -> int:
    """Delete what is condemned and return its bytes; does nothing while another process is at it.

    A reader that holds a deleted file open reads it to its end; one that comes later finds a miss.
    """
    with _alone(root) as alone:
        if not alone:
            return 0
        files = [file for folder in folders for file in _files(folder)]
        freed = 0
        for file in condemned(files, bytes_max, None if keep is None else str(keep)):
            with contextlib.suppress(OSError):
                os.unlink(file.path)
                freed += file.size
        return freed


def _files(folder: CasFolder) -> Iterator[CasFile]:
    """Yield the whole files; temporary ones that nobody will finish are deleted on the way."""
    for entry in folder.files():
        try:
            status = entry.stat(follow_symlinks=False)
            if not entry.name.startswith(TEMPORARY):
                yield CasFile(status.st_mtime_ns, entry.path, status.st_size)
            elif time.time() - status.st_mtime > TEMPORARY_S_MAX:
                os.unlink(entry.path)
        except OSError:  # another process was first
            continue


@contextlib.contextmanager
def _alone(root: Path) -> Iterator[bool]:
    """Hold the lock of the folder; False where another process has it or the folder takes no lock."""
    try:
        lock = os.open(root / LOCK_NAME, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC | os.O_NOFOLLOW, 0o600)
    except OSError:
        yield False
        return
    try:
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError:
            yield False
        else:
            yield True
    finally:
        os.close(lock)
