"""Blobs in a folder: `cas/sha256/ab/ab12....zst`, so that `zstd -dc FILE | sha256sum` audits it."""

from __future__ import annotations

import errno
import os
import tempfile
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from io import FileIO
from pathlib import Path
from typing import BinaryIO

from inductory_client.contract.digest import is_digest
from inductory_client.contract.errors import NotFound, StorageFailed, StorageFull

from .store import BlobStat
from .unpacking import verified

_FULL = frozenset({errno.ENOSPC, errno.EDQUOT, errno.EFBIG})
INCOMING_SECONDS_MAX = 3600.0
"""An incoming file that nobody has written to for so long belongs to a process that died."""
MARKER = "inductory-blobs"
"""Name of the file that says that the folder of the blobs is there."""


class DiskBlobs:
    """A BlobStore in the folder `root`, which several processes may share.

    A blob is written to `incoming/`, synced, and renamed into place: a crash leaves nothing under its name.
    A marker lies beside the blobs. Without it the folder isn't there (a mount that is away, a folder that was
    moved): everything then raises StorageFailed, and no blob is taken for lost.
    """

    def __init__(self, root: Path, *, filled: bool = False) -> None:
        """Make the folder unless it is there; `filled` says that it must be. Raises StorageFailed."""
        self._cas = root / "cas" / "sha256"
        self._marker = self._cas / MARKER
        self._incoming = root / "incoming"
        with _faults():
            if filled and not self._marker.exists():
                raise StorageFailed(
                    f"the catalog promises blobs, and {self._cas} isn't the folder with them: bring it back, "
                    f"or create the file {MARKER} in it to go on with what is there"
                )
            for folder in (root, self._cas, self._incoming):
                folder.mkdir(mode=0o700, parents=True, exist_ok=True)
            self._marker.touch(mode=0o600)

    def put(self, digest: str, size: int, packed: Iterable[bytes]) -> BlobStat:
        path = self._path(digest)
        with self._incoming_file() as (file, incoming):
            for chunk in verified(packed, digest, size):
                with _faults():
                    _write_all(file, chunk)
            with _faults():
                os.fsync(file.fileno())
                packed_size = file.tell()
                self._check_there()
                _make_folder(path.parent)
                incoming.rename(path)
                _sync_folder(path.parent)
        return BlobStat(packed_size)

    def open(self, digest: str) -> BinaryIO:
        with _faults():
            try:
                return self._path(digest).open("rb")
            except FileNotFoundError:
                self._check_there()
                raise NotFound(f"there is no blob {digest}") from None

    def stat(self, digest: str) -> BlobStat | None:
        with _faults():
            try:
                return BlobStat(self._path(digest).stat().st_size)
            except FileNotFoundError:
                self._check_there()
                return None

    def delete(self, digest: str) -> bool:
        with _faults():
            try:
                self._path(digest).unlink()
            except FileNotFoundError:
                self._check_there()
                return False
        return True

    def list(self) -> Iterator[str]:
        with _faults():
            self._check_there()
            for folder in sorted(each for each in self._cas.iterdir() if each.name != MARKER):
                for path in sorted(folder.iterdir()):
                    if path.suffix == ".zst" and is_digest(path.stem):
                        yield path.stem

    def check(self) -> None:
        self._check_there()
        with self._incoming_file() as (file, _), _faults():
            _write_all(file, b"inductory")

    def sweep_incoming(self, now: float) -> int:
        """Remove what processes that died left in `incoming/`; return how many files that were."""
        swept = 0
        with _faults():
            for path in self._incoming.iterdir():
                try:
                    if now - path.stat().st_mtime > INCOMING_SECONDS_MAX:
                        path.unlink()
                        swept += 1
                except FileNotFoundError:
                    continue
        return swept

    def _path(self, digest: str) -> Path:
        if not is_digest(digest):
            raise NotFound(f"{digest!r} is not a digest")
        return self._cas / digest[:2] / f"{digest}.zst"

    def _check_there(self) -> None:
        with _faults():
            if not self._marker.exists():
                raise StorageFailed("the folder of the blobs isn't there, or isn't the one it was")

    @contextmanager
    def _incoming_file(self) -> Iterator[tuple[FileIO, Path]]:
        """Open a new file that is gone afterwards, unless it was renamed."""
        with _faults():
            number, name = tempfile.mkstemp(dir=self._incoming)
        incoming = Path(name)
        # Unbuffered: closing a buffered file after a failed write would try that write again.
        file = FileIO(number, "wb")
        try:
            yield file, incoming
        finally:
            with _faults():
                try:
                    file.close()
                finally:
                    incoming.unlink(missing_ok=True)


@contextmanager
def _faults() -> Iterator[None]:
    """Turn the system's errors into ours, without its words."""
    try:
        yield
    except OSError as error:
        if error.errno in _FULL:
            raise StorageFull from error
        raise StorageFailed from error


def _write_all(file: FileIO, data: bytes) -> None:
    """Write all of `data`: a single write may take only a part of it."""
    rest = memoryview(data)
    while rest:
        rest = rest[file.write(rest) :]


def _make_folder(folder: Path) -> None:
    """Make sure that `folder` is there, and stays there."""
    try:
        folder.mkdir(mode=0o700)
    except FileExistsError:
        return
    _sync_folder(folder.parent)


def _sync_folder(folder: Path) -> None:
    """Make what was made or renamed in `folder` last."""
    number = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(number)
    finally:
        os.close(number)
