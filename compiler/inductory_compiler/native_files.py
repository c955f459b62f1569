"""Native files as they are published: without the symbols that nobody looks up.

A third of the size, and equal bytes where two builds differ only in their folders' names.
"""

from __future__ import annotations

import os
import shutil
import subprocess
import tempfile

_STRIP_SECONDS_MAX = 30.0


def strip(library: bytes) -> bytes:
    """Return a shared library without its symbol table, build id and compiler's name; as it is where `strip`
    fails.
    """
    program = shutil.which("strip")
    if program is None:
        return library
    descriptor, path = tempfile.mkstemp(prefix="inductory-strip-", suffix=".so")
    try:
        with open(descriptor, "wb") as file:
            file.write(library)
        command = [program, "--strip-unneeded", "-R", ".note.gnu.build-id", "-R", ".comment", path]
        subprocess.run(command, check=True, capture_output=True, timeout=_STRIP_SECONDS_MAX)
        with open(path, "rb") as file:
            return file.read()
    except (OSError, subprocess.SubprocessError):
        return library
    finally:
        os.unlink(path)
