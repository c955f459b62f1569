"""The catalog's engine: how SQLite and PostgreSQL are reached, and how long anything there may take."""

from __future__ import annotations

import select
from pathlib import Path
from typing import Any

from inductory_client.contract.errors import BadSettings
from sqlalchemy import URL, Connection, Engine, create_engine, event, make_url
from sqlalchemy.exc import InvalidatePoolError, SQLAlchemyError

BUSY_SECONDS_MAX = 30
"""Longest wait for another writer."""
CONNECT_SECONDS_MAX = 5
STATEMENT_SECONDS_MAX = 60
IDLE_SECONDS_MAX = 60
"""Longest pause within a transaction: a process that was stopped in the middle of one frees what it holds."""

_POSTGRESQL = {
    "application_name": "inductory-store",
    "client_encoding": "utf8",
    "connect_timeout": CONNECT_SECONDS_MAX,
    # A server that vanished without a word is noticed within half a minute, not after the system's two hours.
    "keepalives_idle": 10,
    "keepalives_interval": 5,
    "keepalives_count": 3,
    "tcp_user_timeout": 25_000,
}
"""What libpq is told, unless the address tells it otherwise."""

_BOUNDS = (
    f"SET lock_timeout = '{BUSY_SECONDS_MAX}s'; SET statement_timeout = '{STATEMENT_SECONDS_MAX}s'; "
    f"SET idle_in_transaction_session_timeout = '{IDLE_SECONDS_MAX}s'"
)


def engine_for(url: str, connections_max: int) -> Engine:
    """Return an engine that has connected to nothing yet. Raises BadSettings.

    `postgresql://` means psycopg 3, whatever this SQLAlchemy would take. Connections are kept, and never more
    than `connections_max`: one that is opened for a request and closed after it costs more than the request.
    """
    try:
        parsed = make_url(url)
        if parsed.get_backend_name() == "sqlite":
            return _sqlite(parsed, connections_max)
        if parsed.drivername in ("postgresql", "postgresql+psycopg"):
            return _postgresql(parsed.set(drivername="postgresql+psycopg"), connections_max)
        cause: Exception | None = None
    except (SQLAlchemyError, ImportError, TypeError) as error:
        cause = error
    except OSError as error:
        raise BadSettings(f"can't make the catalog's folder: {error.strerror}") from error
    raise BadSettings(
        "database_url isn't an address of a database that this installation can use: sqlite:///FILE, or "
        "postgresql://USER:PASSWORD@HOST/DATABASE"
    ) from cause


def reading(engine: Engine) -> dict[str, Any]:
    """Return the execution options under which a transaction sees one state of the catalog.

    An SQLite transaction always does. PostgreSQL's default shows each statement what was committed meanwhile.
    """
    if engine.dialect.name == "sqlite":
        return {}
    return {"isolation_level": "REPEATABLE READ", "postgresql_readonly": True}


def reading_once(engine: Engine) -> dict[str, Any]:
    """Return the execution options for a single statement that reads: it sees one state by itself.

    Without a transaction PostgreSQL is asked once, not three times. SQLite has nobody to ask.
    """
    return {} if engine.dialect.name == "sqlite" else {"isolation_level": "AUTOCOMMIT"}


def _sqlite(url: URL, connections_max: int) -> Engine:
    if url.database:
        Path(url.database).parent.mkdir(mode=0o700, parents=True, exist_ok=True)
    engine = create_engine(
        url, pool_size=connections_max, max_overflow=0, connect_args={"timeout": BUSY_SECONDS_MAX}
    )
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


def _postgresql(url: URL, connections_max: int) -> Engine:
    engine = create_engine(
        url,
        pool_size=connections_max,
        max_overflow=0,
        # Not what the server happens to default to: writers are written for this one.
        isolation_level="READ COMMITTED",
        connect_args={name: value for name, value in _POSTGRESQL.items() if name not in url.query},
    )
    event.listen(engine, "connect", _bound_postgresql)
    event.listen(engine, "checkout", _check_open)
    return engine


def _check_open(connection: Any, _: Any, __: Any) -> None:
    """Notice a restart of the server before anything is asked over a connection that it ended.

    What the server says unasked is that it ends, and then it hangs up. To look costs no round trip, which to
    ask would. All connections are then made anew.
    """
    look = select.poll()
    look.register(connection.fileno(), select.POLLIN)
    if look.poll(0):
        raise InvalidatePoolError


def _bound_postgresql(connection: Any, _: Any) -> None:
    # Not among what libpq is told: poolers between here and the server refuse options that they don't know.
    connection.autocommit = True
    connection.execute(_BOUNDS)
    connection.autocommit = False
