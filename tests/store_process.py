"""A store in a process of its own, for tests."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from types import TracebackType
from typing import Self

_ANNOUNCEMENT = "inductory store: "

Database = dict[str, str]
"""The settings of a store that say where its catalog is."""


class StoreProcess:
    """`python -m inductory_store` on a free port; ends with the block."""

    def __init__(
        self, data_dir: Path, environ: dict[str, str] | None = None, wrapper: Sequence[str] = ()
    ) -> None:
        """`wrapper` goes before the command: `prlimit`, for example."""
        self.data_dir = data_dir
        inherited = {
            name: text for name, text in os.environ.items() if not name.startswith("INDUCTORY_STORE_")
        }
        command = [sys.executable, "-m", "inductory_store", "--port", "0", "--data-dir", str(data_dir)]
        with self._log_path.open("ab") as log:
            self.process = subprocess.Popen(
                [*wrapper, *command],
                env=inherited | (environ or {}),
                stdout=subprocess.PIPE,
                stderr=log,
                text=True,
            )
        assert self.process.stdout is not None
        line = self.process.stdout.readline()
        if not line.startswith(_ANNOUNCEMENT):
            self.stop()
            raise RuntimeError(f"the store didn't start: {self.log}")
        self.url = line.removeprefix(_ANNOUNCEMENT).strip()

    @property
    def log(self) -> str:
        """What the process wrote to its standard error."""
        return self._log_path.read_text()

    @property
    def _log_path(self) -> Path:
        return self.data_dir.parent / f"{self.data_dir.name}.log"

    def wait_until(self, condition: Callable[[], bool]) -> None:
        """Return once `condition` holds; fail where the process ends first, or a minute passes."""
        until = time.monotonic() + 60
        while not condition():
            if self.process.poll() is not None or time.monotonic() > until:
                raise RuntimeError("what was waited for never came")

    def kill(self) -> None:
        """End the process as a power cut would."""
        self._end(signal.SIGKILL)

    def stop(self, number: signal.Signals = signal.SIGTERM) -> int:
        """Ask the process to end, wait for it, and return its exit status."""
        return self._end(number)

    def _end(self, number: signal.Signals) -> int:
        if self.process.poll() is None:
            self.process.send_signal(number)
        try:
            status = self.process.wait(timeout=60)
        except subprocess.TimeoutExpired:
            self.process.kill()
            raise
        if self.process.stdout is not None:
            self.process.stdout.close()
        return status

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.stop()
