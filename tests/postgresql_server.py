"""A PostgreSQL server of the tests' own, in a folder that goes with it."""

from __future__ import annotations

import itertools
import os
import pwd
import secrets
import shutil
import signal
import socket
import subprocess
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from glob import glob
from pathlib import Path
from types import TracebackType
from typing import Self

import psycopg
from inductory_store.catalog.catalog import Catalog
from inductory_store.catalog.migrate import upgrade

USER = "store"
"""Whose the databases are. No superuser: a store needs none."""
TEMPLATE = "migrated"
STARTS_MAX = 5
"""A free port may be taken by somebody else before the server takes it."""
# Nothing here has to outlive a power cut; what was committed outlives the server's own end.
_SETTINGS = ("fsync=off", "full_page_writes=off", "max_connections=200")


def programs() -> Path | None:
    """Return the folder with initdb and postgres, which Debian keeps out of the PATH; None without them."""
    found = shutil.which("initdb") or max(glob("/usr/lib/postgresql/*/bin/initdb"), default=None)
    return Path(found).resolve().parent if found else None


class PostgresqlServer:
    """A server on a free port of the loopback, with databases to be had; ends with the block.

    It asks for a password, as one across a network does. It may be stopped, and started again on its port.
    """

    def __init__(self, bin_folder: Path) -> None:
        self._bin = bin_folder
        self._folder = Path(tempfile.mkdtemp(prefix="inductory-postgresql-"))
        self._password = secrets.token_hex(16)
        self._numbers = itertools.count()
        self._own(self._folder)
        self._initialise()
        self.process, self.port = self._first_start()
        with self._superuser() as connection:
            connection.execute(f"CREATE ROLE {USER} LOGIN PASSWORD '{self._password}'")
            self._create(connection, TEMPLATE, "TEMPLATE template1")
        catalog = Catalog(self.url_of(TEMPLATE))
        upgrade(catalog.engine)
        catalog.close()

    @contextmanager
    def database(self, *, migrated: bool = True, options: str = "") -> Iterator[str]:
        """The URL of a new database, with the tables or without; it is dropped with the block."""
        name = f"test_{next(self._numbers)}"
        with self._superuser() as connection:
            self._create(connection, name, options or f"TEMPLATE {TEMPLATE if migrated else 'template1'}")
        try:
            yield self.url_of(name)
        finally:
            with self._superuser() as connection:
                connection.execute(f"DROP DATABASE {name} WITH (FORCE)")

    @contextmanager
    def tablespace(self, folder: str) -> Iterator[str]:
        """A place for databases of its own, in a folder that `make_folder` made; empty it before the end."""
        name = f"space_{next(self._numbers)}"
        with self._superuser() as connection:
            connection.execute(f"CREATE TABLESPACE {name} LOCATION '{folder}'".encode())
            connection.execute(f"GRANT CREATE ON TABLESPACE {name} TO {USER}".encode())
        yield name
        with self._superuser() as connection:
            connection.execute(f"DROP TABLESPACE {name}".encode())

    def make_folder(self, name: str) -> Path:
        """Make a folder that is the server's."""
        folder = self._folder / name
        folder.mkdir(mode=0o700)
        self._own(folder)
        return folder

    def url_of(self, database: str) -> str:
        return f"postgresql://{USER}:{self._password}@127.0.0.1:{self.port}/{database}"

    def start(self) -> None:
        """Start it again after `stop` or `kill`; returns once it takes connections."""
        process = self._start(self.port)
        assert process is not None, self.log
        self.process = process

    def stop(self, number: signal.Signals = signal.SIGINT) -> None:
        """End it: by SIGINT at once for all who are connected, by SIGQUIT as a crash would."""
        if self.process.poll() is None:
            self.process.send_signal(number)
        self.process.wait(timeout=60)

    @contextmanager
    def frozen(self) -> Iterator[None]:
        """None of its processes does anything, as on a machine whose disk hangs; nobody is hung up on."""
        pids = [self.process.pid, *self._children()]
        for pid in pids:
            os.kill(pid, signal.SIGSTOP)
        try:
            yield
        finally:
            for pid in reversed(pids):
                os.kill(pid, signal.SIGCONT)

    def _children(self) -> list[int]:
        pid = self.process.pid
        return [int(each) for each in Path(f"/proc/{pid}/task/{pid}/children").read_text().split()]

    @property
    def log(self) -> str:
        return (self._folder / "log").read_text()

    def _first_start(self) -> tuple[subprocess.Popen[bytes], int]:
        for _ in range(STARTS_MAX):
            with socket.socket() as free:
                free.bind(("127.0.0.1", 0))
                port = int(free.getsockname()[1])
            if process := self._start(port):
                return process, port
        raise RuntimeError(f"PostgreSQL didn't start: {self.log}")

    def _start(self, port: int) -> subprocess.Popen[bytes] | None:
        options = ("listen_addresses=127.0.0.1", f"port={port}", f"unix_socket_directories={self._folder}")
        flags = [part for each in (*options, *_SETTINGS) for part in ("-c", each)]
        with (self._folder / "log").open("ab") as log:
            process = subprocess.Popen(
                self._command("postgres", "-D", str(self._folder / "data"), *flags), stdout=log, stderr=log
            )
        ready = [str(self._bin / "pg_isready"), "-q", "-h", str(self._folder), "-p", str(port)]
        while process.poll() is None:
            if subprocess.run(ready, check=False).returncode == 0:
                return process
        return None

    def _initialise(self) -> None:
        password = self._folder / "password"
        password.write_text(self._password)
        self._own(password)
        subprocess.run(
            self._command(
                "initdb",
                *("-D", str(self._folder / "data"), "--no-sync", "--username=postgres", "--encoding=UTF8"),
                *("--locale=C", "--auth=scram-sha-256", f"--pwfile={password}"),
            ),
            check=True,
            capture_output=True,
        )

    def _command(self, program: str, *arguments: str) -> list[str]:
        """Return a command as somebody that PostgreSQL's programs agree to run as: root isn't."""
        whose = ["setpriv", "--reuid=postgres", "--regid=postgres", "--init-groups"] if _is_root() else []
        return [*whose, str(self._bin / program), *arguments]

    def _own(self, path: Path) -> None:
        if _is_root():
            owner = pwd.getpwnam("postgres")
            os.chown(path, owner.pw_uid, owner.pw_gid)

    def _superuser(self) -> psycopg.Connection[tuple[object, ...]]:
        return psycopg.connect(
            host="127.0.0.1",
            port=self.port,
            dbname="postgres",
            user="postgres",
            password=self._password,
            autocommit=True,
        )

    def _create(self, connection: psycopg.Connection[tuple[object, ...]], name: str, options: str) -> None:
        connection.execute(f"CREATE DATABASE {name} OWNER {USER} {options}".encode())

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.stop()
        shutil.rmtree(self._folder)


def _is_root() -> bool:
    return os.geteuid() == 0
