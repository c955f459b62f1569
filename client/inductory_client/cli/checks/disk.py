"""Can the local cache do its work?"""

from __future__ import annotations

import os
import shutil
import stat
import tempfile
from collections.abc import Iterator
from pathlib import Path

from inductory_client.cli.table import bytes_text
from inductory_client.settings import Settings

from .check import Check

LITTLE_BYTES = 1 << 30


def check_cache_folder(settings: Settings) -> Iterator[Check]:
    """Look at rights, mode and room of the cache folder, by writing to it."""
    folder = settings.cache_dir
    try:
        folder.mkdir(mode=0o700, parents=True, exist_ok=True)
        with tempfile.TemporaryFile(dir=folder) as probe:
            probe.write(b"x" * 4096)
            probe.flush()
    except OSError as error:
        yield Check(
            "cache folder",
            "fail",
            f"{folder} can't be written: {error.strerror}. Every start fetches all pieces anew.",
            "Give this user the right and the room to write there, or set INDUCTORY_CACHE_DIR elsewhere.",
        )
        return
    yield _mode(folder)
    yield _room(folder, settings.cache_bytes_max)


def _mode(folder: Path) -> Check:
    status = folder.stat()
    others = stat.S_IMODE(status.st_mode) & 0o077
    if status.st_uid != os.geteuid():
        return Check(
            "cache folder",
            "warn",
            f"{folder} belongs to another user (uid {status.st_uid}).",
            "It isn't used, as its owner could change it; set INDUCTORY_CACHE_DIR to a folder of your own.",
        )
    if others:
        return Check(
            "cache folder",
            "warn",
            f"{folder} is open to other users (mode {stat.S_IMODE(status.st_mode):o}).",
            f"chmod 700 {folder}",
        )
    return Check("cache folder", "ok", f"{folder} is there, private and writable.")


def _room(folder: Path, bytes_max: int) -> Check:
    free = shutil.disk_usage(folder).free
    what = f"{bytes_text(free)} are free for a cache of at most {bytes_text(bytes_max)}."
    if free < LITTLE_BYTES:
        todo = "Make room, or point INDUCTORY_CACHE_DIR to a larger disk."
        return Check("cache room", "warn" if free else "fail", what, todo)
    if free < bytes_max:
        return Check("cache room", "warn", what, "Set INDUCTORY_CACHE_BYTES_MAX to what fits, or make room.")
    return Check("cache room", "ok", what)
