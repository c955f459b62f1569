"""A folder of this process's own, for kernels while Triton's folder can't be written."""

from __future__ import annotations

import atexit
import functools
import os
import shutil
import tempfile


def private_folder() -> str:
    """Return it, made where there is none; it goes with the process. Raises OSError."""
    return _made(os.getpid())


@functools.cache
def _made(pid: int) -> str:
    path = tempfile.mkdtemp(prefix="inductory-triton-")
    atexit.register(_remove, path, pid)
    return path


def _remove(path: str, pid: int) -> None:
    if os.getpid() == pid:  # a forked child leaves alone what is its parent's
        shutil.rmtree(path, ignore_errors=True)
