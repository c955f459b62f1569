"""The catalog's engine and its transactions."""

from __future__ import annotations

import logging
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from inductory_client.contract.errors import BadSettings, StorageFailed, StorageFull
from sqlalchemy import Connection, Engine, create_engine, event, make_url
from sqlalchemy.exc import DBAPIError, SQLAlchemyError

BUSY_SECONDS_MAX = 30
"""Longest wait for another writer of an SQLite catalog."""
CONNECTIONS = 16

_log = logging.getLogger(__name__)


class Catalog:
    """SQL in transactions. A driver's errors leave as ours, its words go to the log only."""

    def __init__(self, url: str) -> None:
        self.engine = _engine(url)

    @contextmanager
    def read(self) -> Iterator[Connection]:
        """A transaction that only reads: it sees one state of the catalog."""
        with _faults(), self.engine.connect() as connection, connection.begin():
            yield connection

    @contextmanager
    def write(self) -> Iterator[Connection]:
        """A transaction that is committed at the end of the block, or not at all."""
        with _faults(), self.engine.connect() as connection:
            connection = connection.execution_options(inductory_write=True)
            with connection.begin():
                yield connection

    def close(self) -> None:
        """Close all connections."""
        self.engine.dispose()


def _engine(url: str) -> Engine:
    try:
        parsed = make_url(url)
        sqlite = parsed.get_backend_name() == "sqlite"
        if sqlite and parsed.database:
            Path(parsed.database).parent.mkdir(mode=0o700, parents=True, exist_ok=True)
        connect_args = {"timeout": BUSY_SECONDS_MAX} if sqlite else {}
        engine = create_engine(
            parsed, pool_size=CONNECTIONS, max_overflow=0, pool_pre_ping=not sqlite, connect_args=connect_args
        )
    except (SQLAlchemyError, ImportError, TypeError) as error:
        raise BadSettings(
            "database_url isn't an address of a database that this installation can use"
        ) from error
    except OSError as error:
        raise BadSettings(f"can't make the catalog's folder: {error.strerror}") from error
    if sqlite:
        event.listen(engine, "connect", _tune_sqlite)
        event.listen(engine, "begin", _begin_sqlite)
    return engine


def _tune_sqlite(connection: Any, _: Any) -> None:
    # Transactions are begun by `_begin_sqlite`; the driver's own idea of when to begin one breaks isolation.
    connection.isolation_level = None
    cursor = connection.cursor()
    cursor.execute("PRAGMA journal_mode=WAL")
    # A power cut may forget the last rows, never half of one; what is forgotten is a miss, published again.
    cursor.execute("PRAGMA synchronous=NORMAL")
    cursor.execute("PRAGMA foreign_keys=ON")
    cursor.close()


def _begin_sqlite(connection: Connection) -> None:
    # A writer takes its lock at once: one that read first could not take it after another has written.
    writes = connection.get_execution_options().get("inductory_write", False)
    connection.exec_driver_sql("BEGIN IMMEDIATE" if writes else "BEGIN")


@contextmanager
def _faults() -> Iterator[None]:
    try:
        yield
    except SQLAlchemyError as error:
        _log.error("the catalog failed: %s", error)
        if isinstance(error, DBAPIError) and getattr(error.orig, "sqlite_errorname", "") == "SQLITE_FULL":
            raise StorageFull from error
        raise StorageFailed("the catalog failed to read or write") from error
