"""The cache manager: what Triton calls for each kernel and native module that it needs."""

from __future__ import annotations

import json
import os
import sys
import time
from typing import Any

import triton
from triton.runtime.cache import FileCacheManager

from inductory_client.contract.errors import InductoryError
from inductory_client.foreign import Files
from inductory_client.trouble import log, warn_once

from . import sharing
from .entry import GROUP, is_native, is_needed, packed_group, unpacked_group, unpacked_native
from .private_folder import private_folder
from .surroundings import source_within, surroundings_of
from .used import note_used

INSTALLED = os.path.dirname(triton.__file__)


class InductoryCacheManager(FileCacheManager):  # type: ignore[misc]
    """Triton's own folder, and behind it this node's local CAS and the store.

    A kernel found in the folder costs a look at its names, for `used_keys`. One that is found behind it is
    written there, whole: its metadata and machine code. The stages before those (`ttir` to `ptx`) don't
    travel, so that its `asm` has them only where it was compiled, as under TRITON_STORE_BINARY_ONLY;
    TRITON_ALWAYS_COMPILE=1 is for who needs them. What Triton compiles itself is sent in the background.

    Kernels that are dumped or overridden are the stock manager's alone. Where the folder can't be written,
    one of this process's own takes its place. Otherwise it raises what the stock manager raises.
    """

    def __init__(self, key: str, override: bool = False, dump: bool = False) -> None:
        self.cache_dir: str
        self._began = time.monotonic()
        self._shares = not (override or dump) and sharing.is_shared()
        self._made: Files = {}
        """What was put by now and a load needs."""
        self._retreated = False
        self._group: str | None = None
        """The key of the group that Triton asked for."""
        try:
            super().__init__(key, override=override, dump=dump)
        except OSError as error:
            self._retreat(error)

    def get_file(self, filename: str) -> str | None:
        path: str | None = super().get_file(filename)
        if not self._shares or not is_native(filename):
            return path
        key = sharing.native_key(self.key, filename)
        if path is None:
            path = self._written(key, filename).get(filename)
        if path is not None:
            note_used(key)
        return path

    def put(self, data: Any, filename: str, binary: bool = True) -> str:
        path = self._write(data, filename, binary)
        if not self._shares:
            return path
        if is_native(filename):
            self._offer(sharing.native_key(self.key, filename), {filename: _bytes(data)})
        elif is_needed(filename):
            self._made[filename] = _bytes(data)
        return path

    def get_group(self, filename: str) -> dict[str, str] | None:
        if not self._shares:
            return super().get_group(filename)  # type: ignore[no-any-return]
        self._group = self._group_key(filename)
        found = self._whole_group(filename)
        if found is None and self._group is not None:
            found = self._written(self._group, filename) or None
        if found is not None and self._group is not None:
            note_used(self._group)
        return found

    def put_group(self, filename: str, group: dict[str, str]) -> str:
        path: str = super().put_group(filename, group)
        needed = {name for name in group if is_needed(name)}
        if self._shares and self._group is not None and filename in needed <= self._made.keys():
            made = {name: self._made[name] for name in needed}
            files = packed_group(filename, made, INSTALLED)
            if files is not None:
                self._offer(self._group, files)
        return path

    def _group_key(self, filename: str) -> str | None:
        """Return our key of a group; None where it can't be told what the kernel's code depends on."""
        source = source_within(sys._getframe(2))
        if source is None:
            warn_once(
                "triton:source", "Triton asks for %s in a way that isn't known; it isn't shared", filename
            )
            return None
        try:
            with sharing.waiting():
                return sharing.group_key(self.key, filename, surroundings_of(source))
        except Exception as error:
            log.info("the kernel %s isn't shared: %s", filename, error)
            return None

    def _whole_group(self, filename: str) -> dict[str, str] | None:
        """Return a group that lies in the folder; None where a file of it is gone, or it is damaged."""
        try:
            with open(self._make_path(GROUP + filename), encoding="utf-8") as file:
                children = json.load(file)["child_paths"]
            return dict(children) if all(map(os.path.exists, children.values())) else None
        except (OSError, ValueError, LookupError, TypeError, AttributeError):
            return None

    def _written(self, key: str, filename: str) -> dict[str, str]:
        """Fetch an entry, write it to the folder and return its files' paths; none where it can't be had."""
        files = sharing.fetch(key)
        if files is None:
            return {}
        try:
            with sharing.waiting():
                return self._unpacked(files, filename)
        except (InductoryError, OSError) as error:
            warn_once("triton:write", "a kernel of Triton's is compiled here after all: %s", error)
            return {}

    def _unpacked(self, files: Files, filename: str) -> dict[str, str]:
        """Write an entry as it came, and return its files' paths. Raises InductoryError and OSError."""
        if is_native(filename):
            files = unpacked_native(filename, files)
            return {name: self._write(data, name) for name, data in files.items()}
        files = unpacked_group(filename, files, INSTALLED)
        paths = {name: self._write(data, name) for name, data in files.items()}
        super().put_group(filename, paths)
        return paths

    def _write(self, data: Any, filename: str, binary: bool = True) -> str:
        """Write a file, whole or not at all, and return its path. Raises what the stock manager raises."""
        try:
            return super().put(data, filename, binary=binary)  # type: ignore[no-any-return]
        except OSError as error:
            self._retreat(error)
        return super().put(data, filename, binary=binary)  # type: ignore[no-any-return]

    def _offer(self, key: str, files: Files) -> None:
        note_used(key)
        sharing.offer(key, files, time.monotonic() - self._began)

    def _retreat(self, error: OSError) -> None:
        """Go on in a folder of this process's own. Raises `error` where that is no help, or isn't for us."""
        if not self._shares or self._retreated:
            raise error
        self._retreated = True
        warn_once("triton:folder", "Triton's folder %s can't be written: %s", self.cache_dir, error.strerror)
        self.cache_dir = os.path.join(private_folder(), self.key)
        self.lock_path = os.path.join(self.cache_dir, "lock")
        os.makedirs(self.cache_dir, exist_ok=True)


def _bytes(data: Any) -> bytes:
    """Return what the stock manager writes for `data`."""
    return data if isinstance(data, bytes) else str(data).encode()
