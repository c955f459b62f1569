"""Servers for benchmarks, each a process of its own on a free port of the loopback, ended with the block."""

from __future__ import annotations

import os
import shutil
import socket
import subprocess
import sys
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Self

import uvicorn

START_S_MAX = 60.0
_ANNOUNCEMENT = "inductory store: "
_TICKS_PER_S = os.sysconf("SC_CLK_TCK")


class Server(str):
    """The address of a server, which knows the process behind it."""

    pid: int

    def __new__(cls, url: str, pid: int) -> Self:
        server = super().__new__(cls, url)
        server.pid = pid
        return server

    @property
    def cpu_s(self) -> float:
        """Seconds of a processor that it and its workers took so far."""
        return sum(_cpu_s(pid) for pid in (self.pid, *_children(self.pid)))

    @property
    def resident_bytes(self) -> int:
        """Memory that it has in use, without its workers'."""
        pages = int(Path(f"/proc/{self.pid}/statm").read_text().split()[1])
        return pages * os.sysconf("SC_PAGE_SIZE")


def _cpu_s(pid: int) -> float:
    fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    return (int(fields[11]) + int(fields[12])) / _TICKS_PER_S


def _children(pid: int) -> list[int]:
    return [int(each) for each in Path(f"/proc/{pid}/task/{pid}/children").read_text().split()]


@contextmanager
def store(folder: Path, *arguments: str, **settings: str) -> Iterator[Server]:
    """Run a store that keeps its data in `folder`; yields its address.

    `settings` are the store's, as variables: INDUCTORY_STORE_DATABASE_URL="postgresql://...".
    """
    folder.mkdir(parents=True, exist_ok=True)
    options = ["-m", "inductory_store", "--port", "0", "--data-dir", str(folder / "data")]
    with announced([*options, *arguments], folder / "log", settings) as server:
        yield server


@contextmanager
def announced(
    arguments: Sequence[str], log_path: Path, settings: Mapping[str, str] | None = None
) -> Iterator[Server]:
    """Run Python with these arguments, which says its address as a store does; yields that."""
    environ = {name: text for name, text in os.environ.items() if not name.startswith("INDUCTORY_")}
    environ |= settings or {}
    with log_path.open("wb") as log:
        process = subprocess.Popen(
            [sys.executable, *arguments], env=environ, stdout=subprocess.PIPE, stderr=log, text=True
        )
    assert process.stdout is not None
    try:
        line = process.stdout.readline()
        if not line.startswith(_ANNOUNCEMENT):
            raise RuntimeError(f"the server didn't start: {log_path.read_text()}")
        yield Server(line.removeprefix(_ANNOUNCEMENT).strip(), process.pid)
    finally:
        process.terminate()
        process.wait()
        process.stdout.close()


def serve(app: Any) -> None:
    """Serve an application as a store is served, in this process, and say its address as a store does."""
    listener = socket.socket(socket.AF_INET, socket.SOCK_STREAM, socket.IPPROTO_TCP)
    listener.bind(("127.0.0.1", 0))
    listener.listen(2048)
    print(f"{_ANNOUNCEMENT}http://127.0.0.1:{listener.getsockname()[1]}", flush=True)
    config = uvicorn.Config(app, log_level="warning", access_log=False, server_header=False)
    uvicorn.Server(config).run(sockets=[listener])


@contextmanager
def nginx(folder: Path, files: Path) -> Iterator[Server]:
    """Run nginx with two workers, which serves the files of a folder; yields its address."""
    program = shutil.which("nginx", path=os.pathsep.join((os.environ.get("PATH", ""), "/usr/sbin")))
    if program is None:
        raise RuntimeError("nginx is missing: scripts/setup.sh servers nginx")
    folder.mkdir(parents=True)
    port = free_port()
    (folder / "nginx.conf").write_text(_NGINX.format(folder=folder, files=files, port=port))
    process = subprocess.Popen([program, "-p", str(folder), "-c", str(folder / "nginx.conf")])
    try:
        _wait_for(port, process)
        yield Server(f"http://127.0.0.1:{port}", process.pid)
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
    port = free_port()
    command = [program, "--bind", "127.0.0.1", "--port", str(port), "--save", "", "--appendonly", "no"]
    with (folder / "log").open("wb") as log:
        process = subprocess.Popen([*command, "--dir", str(folder)], stdout=log, stderr=log)
    try:
        _wait_for(port, process)
        yield f"redis://127.0.0.1:{port}"
    finally:
        process.terminate()
        process.wait()


def free_port() -> int:
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
    raise RuntimeError("a server didn't start")
