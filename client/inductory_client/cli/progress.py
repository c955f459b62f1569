"""Progress: one line that renews itself on a terminal, plain lines with --verbose, else nothing."""

from __future__ import annotations

import shutil
from typing import TextIO

from .table import printable

_CLEAR = "\r\x1b[K"


class Progress:
    """Says what is going on. Call it with a message; `close` it before anything else is printed."""

    def __init__(self, stream: TextIO, *, verbose: bool) -> None:
        self._stream = stream
        self._terminal = stream.isatty() and not verbose
        self._speaks = self._terminal or verbose
        self._open = False

    def __call__(self, message: str) -> None:
        if not self._speaks:
            return
        message = printable(message)
        if self._terminal:
            width = shutil.get_terminal_size().columns - 1
            self._stream.write(_CLEAR + message[:width])
            self._open = True
        else:
            self._stream.write(message + "\n")
        self._stream.flush()

    def close(self) -> None:
        """Wipe the unfinished line away. Idempotent."""
        if self._open:
            self._stream.write(_CLEAR)
            self._stream.flush()
            self._open = False
