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
def nginx(folder: Path, files: Path) -> Iterator[str]:
    """Run nginx with two workers, which serves the files of a folder; yields its address."""
    program = shutil.which("nginx", path=os.pathsep.join((os.environ.get("PATH", ""), "/usr/sbin")))
    if program is None:
        raise RuntimeError("nginx is missing: scripts/setup.sh servers nginx")
    folder.mkdir(parents=True)
    port = _free_port()
    (folder / "nginx.conf").write_text(_NGINX.format(folder=folder, files=files, port=port))
    process = subprocess.Popen([program, "-p", str(folder), "-c", str(folder / "nginx.conf")])
    try:
        _wait_for(port, process)
        yield f"http://127.0.0.1:{port}"
    finally:
        process.terminate()
        process.wait()


_NGINX = """
daemon off;
user root;
worker_processes 2;
pid {folder}/pid;
error_log {folder}/error.log;
events {{ worker_connections 4096; }}
http {{
    access_log off;
    sendfile on;
    tcp_nopush on;
    default_type application/octet-stream;
    server {{ listen 127.0.0.1:{port} backlog=4096; root {files}; }}
}}
"""


@contextmanager
def redis(folder: Path) -> Iterator[str]:
    """Run an empty Redis that writes nothing to disk; yields its URL."""
    program = shutil.which("redis-server")
    if program is None:
        raise RuntimeError("redis-server is missing: scripts/setup.sh servers redis")
    folder.mkdir(parents=True)
    port = _free_port()
    command = [program, "--bind", "127.0.0.1", "--port", str(port), "--save", "", "--appendonly", "no"]
    with (folder / "log").open("wb") as log:
        process = subprocess.Popen([*command, "--dir", str(folder)], stdout=log, stderr=log)
    try:
        _wait_for(port, process)
        yield f"redis://127.0.0.1:{port}"
    finally:
        process.terminate()
        process.wait()


def _free_port() -> int:
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port: int = free.getsockname()[1]
    return port


def _wait_for(port: int, process: subprocess.Popen[bytes]) -> None:
    began = time.monotonic()
    while time.monotonic() - began < START_S_MAX and process.poll() is None:
        try:
            with socket.create_connection(("127.0.0.1", port), timeout=1.0):
                return
        except OSError:
            time.sleep(0.05)
    raise RuntimeError("redis-server didn't start")
