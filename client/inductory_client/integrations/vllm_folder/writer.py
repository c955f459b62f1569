"""Writes files below one folder and nowhere else: through no link, whole or not at all."""

from __future__ import annotations

import errno
import os
import stat
import uuid
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from inductory_client.contract.descriptor import check_relative_path
from inductory_client.contract.errors import Malformed, StorageFailed, StorageFull

_FOLDER = os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW


class FolderWriter:
    """Reads and writes below `base`, which is made if it isn't there.

    Every step from `base` down refuses symbolic links, so what a link points to is never touched.
    """

    def __init__(self, base: Path) -> None:
        self.base = base

    def read(self, name: str) -> bytes | None:
        """Return the bytes of a file, None where there is none. Raises Malformed at a link or a folder."""
        with self._failing(name):
            try:
                with self._parent(name, make=False) as (parent, last):
                    file = os.open(last, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK, dir_fd=parent)
            except FileNotFoundError:
                return None
            with open(file, "rb") as stream:
                if not stat.S_ISREG(os.fstat(stream.fileno()).st_mode):
                    raise Malformed(f"{self.base / name} is there already, and isn't a plain file")
                return stream.read()

    def write(self, name: str, data: bytes) -> None:
        """Write a file atomically, over a plain file of that name.

        Raises StorageFull, StorageFailed, and Malformed at a link.
        """
        with self._failing(name), self._parent(name, make=True) as (parent, last):
            temporary = f".inductory-{uuid.uuid4().hex}.tmp"
            try:
                flags = os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW
                with open(os.open(temporary, flags, 0o644, dir_fd=parent), "wb") as stream:
                    stream.write(data)
                os.replace(temporary, last, src_dir_fd=parent, dst_dir_fd=parent)
            finally:
                with suppress(FileNotFoundError):
                    os.unlink(temporary, dir_fd=parent)

    @contextmanager
    def _parent(self, name: str, *, make: bool) -> Iterator[tuple[int, str]]:
        """Open the folder that `name` lies in, step by step, and yield it with the last part of the name."""
        *folders, last = check_relative_path(name).split("/")
        if make:
            self.base.mkdir(parents=True, exist_ok=True)
        current = os.open(self.base, os.O_RDONLY | os.O_DIRECTORY)
        try:
            for folder in folders:
                if make:
                    with suppress(FileExistsError):
                        os.mkdir(folder, 0o755, dir_fd=current)
                below = os.open(folder, _FOLDER, dir_fd=current)
                os.close(current)
                current = below
            yield current, last
        finally:
            os.close(current)

    @contextmanager
    def _failing(self, name: str) -> Iterator[None]:
        """Translate the system's errors."""
        try:
            yield
        except OSError as error:
            path = self.base / name
            if error.errno in (errno.ENOSPC, errno.EDQUOT):
                raise StorageFull(f"no room is left for {path}") from error
            if error.errno in (errno.ELOOP, errno.ENOTDIR):
                raise Malformed(f"a symbolic link or a file is in the way of {path}") from error
            raise StorageFailed(f"{path} can't be used: {error.strerror}") from error
