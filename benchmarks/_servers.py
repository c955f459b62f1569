"""Servers for benchmarks, each a process of its own on a free port of the loopback, ended with the block."""

from __future__ import annotations

import os
import shutil
import socket
import subprocess
import sys
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

START_S_MAX = 60.0
_ANNOUNCEMENT = "inductory store: "


@contextmanager
def store(folder: Path, *arguments: str) -> Iterator[str]:
    """Run an empty store that keeps its data in `folder`; yields its address."""
    folder.mkdir(parents=True)
    options = ["-m", "inductory_store", "--port", "0", "--data-dir", str(folder / "data")]
    with announced([*options, *arguments], folder / "log") as url:
        yield url


@contextmanager
def announced(arguments: Sequence[str], log_path: Path) -> Iterator[str]:
    """Run Python with these arguments, which says its address as a store does; yields that."""
    environ = {name: text for name, text in os.environ.items() if not name.startswith("INDUCTORY_")}
    with log_path.open("wb") as log:
        process = subprocess.Popen(
            [sys.executable, *arguments], env=environ, stdout=subprocess.PIPE, stderr=log, text=True
        )
    assert process.stdout is not None
    try:
        line = process.stdout.readline()
        if not line.startswith(_ANNOUNCEMENT):
            raise RuntimeError(f"the server didn't start: {log_path.read_text()}")
        yield line.removeprefix(_ANNOUNCEMENT).strip()
    finally:
        process.terminate()
        process.wait()
        process.stdout.close()


@contextmanager
def redis(folder: Path) -> Iterator[str]:
    """Run an empty Redis that writes nothing to disk; yields its URL."""
    program = shutil.which("redis-server")
    if program is None:
        raise RuntimeError("redis-server is missing: scripts/setup.sh servers redis")
    folder.mkdir(parents=True)
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    command = [program, "--bind", "127.0.0.1", "--port", str(port), "--save", "", "--appendonly", "no"]
    with (folder / "log").open("wb") as log:
        process = subprocess.Popen([*command, "--dir", str(folder)], stdout=log, stderr=log)
    try:
        _wait_for(port, process)
        yield f"redis://127.0.0.1:{port}"
    finally:
        process.terminate()
        process.wait()


def _wait_for(port: int, process: subprocess.Popen[bytes]) -> None:
    began = time.monotonic()
    while time.monotonic() - began < START_S_MAX and process.poll() is None:
        try:
            with socket.create_connection(("127.0.0.1", port), timeout=1.0):
                return
        except OSError:
            time.sleep(0.05)
    raise RuntimeError("redis-server didn't start")
