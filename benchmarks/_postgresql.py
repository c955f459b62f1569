"""A PostgreSQL server of a benchmark's own, in a folder that goes with it."""

from __future__ import annotations

import os
import pwd
import shutil
import signal
import subprocess
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from glob import glob
from pathlib import Path

import psycopg
from _servers import free_port

# Nothing here has to outlive a power cut. A million artifacts fit its memory, as they would a fleet's server.
_SETTINGS = {
    "fsync": "off",
    "full_page_writes": "off",
    "synchronous_commit": "off",
    "shared_buffers": "4GB",
    "maintenance_work_mem": "1GB",
    "max_wal_size": "16GB",
    "wal_level": "minimal",
    "max_wal_senders": "0",
}


class Postgresql:
    """Where databases are to be had."""

    def __init__(self, port: int) -> None:
        self._port = port

    def database(self, name: str) -> str:
        """Make an empty database, and return its URL."""
        with psycopg.connect(self.url_of("postgres"), autocommit=True) as connection:
            connection.execute(f"CREATE DATABASE {name} TEMPLATE template0".encode())
        return self.url_of(name)

    def analyse(self, name: str) -> None:
        """Let the planner know what there is, as a server does by itself within minutes."""
        with psycopg.connect(self.url_of(name), autocommit=True) as connection:
            connection.execute(b"VACUUM (ANALYZE)")

    def url_of(self, name: str) -> str:
        return f"postgresql://postgres@127.0.0.1:{self._port}/{name}"


@contextmanager
def postgresql() -> Iterator[Postgresql]:
    """Run a server on a free port of the loopback; ends with the block, and so do its databases."""
    found = shutil.which("initdb") or max(glob("/usr/lib/postgresql/*/bin/initdb"), default=None)
    if found is None:
        raise RuntimeError("PostgreSQL is missing: scripts/setup.sh servers postgresql")
    programs = Path(found).resolve().parent
    folder = Path(tempfile.mkdtemp(prefix="inductory-bench-postgresql-"))
    is_root = os.geteuid() == 0
    if is_root:  # its programs refuse to run as root
        owner = pwd.getpwnam("postgres")
        os.chown(folder, owner.pw_uid, owner.pw_gid)
    whose = ["setpriv", "--reuid=postgres", "--regid=postgres", "--init-groups"] if is_root else []
    data, port = folder / "data", free_port()
    initdb = [str(programs / "initdb"), "-D", str(data), "--no-sync", "--username=postgres"]
    subprocess.run(
        [*whose, *initdb, "--encoding=UTF8", "--locale=C", "--auth=trust"], check=True, capture_output=True
    )
    options = {"listen_addresses": "127.0.0.1", "port": port, "unix_socket_directories": folder} | _SETTINGS
    flags = [part for name, text in options.items() for part in ("-c", f"{name}={text}")]
    with (folder / "log").open("wb") as log:
        process = subprocess.Popen(
            [*whose, str(programs / "postgres"), "-D", str(data), *flags], stdout=log, stderr=log
        )
    try:
        ready = [str(programs / "pg_isready"), "-q", "-h", "127.0.0.1", "-p", str(port)]
        while subprocess.run(ready, check=False).returncode:
            if process.poll() is not None:
                raise RuntimeError(f"PostgreSQL didn't start: {(folder / 'log').read_text()}")
        yield Postgresql(port)
    finally:
        process.send_signal(signal.SIGINT)
        process.wait()
        shutil.rmtree(folder)
