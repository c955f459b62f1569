"""Bringing a database to the schema of this code."""

from __future__ import annotations

import logging
import sqlite3
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from alembic import command
from alembic.config import Config
from alembic.migration import MigrationContext
from alembic.script import ScriptDirectory
from inductory_client.contract.errors import BadSettings, StorageFailed
from sqlalchemy import Connection, Engine
from sqlalchemy.exc import SQLAlchemyError

from .engine import BUSY_SECONDS_MAX
from .faults import driver_code, fault_of

TURN_SECONDS_MAX = 600
"""Longest wait for another store that migrates the same PostgreSQL database."""

_TURN = int.from_bytes(b"inductor")
"""Names the lock, which PostgreSQL knows by a number of 64 bits."""

_log = logging.getLogger(__name__)


def migrations_folder() -> Path:
    """Return where the migrations are: in the installed package, or at the top of a checkout."""
    installed = Path(__file__).parents[1] / "migrations"
    return installed if installed.is_dir() else Path(__file__).parents[3] / "migrations"


def address_of(engine: Engine) -> str:
    """Return where a catalog is, for people: a file, or an address without its password."""
    file = engine.url.database if engine.dialect.name == "sqlite" else None
    return file or engine.url.difference_update_query(["password", "sslpassword"]).render_as_string()


def alembic_config(folder: Path | None = None) -> Config:
    """Return Alembic's configuration, made without a file; `folder` is this code's migrations unless told."""
    config = Config()
    config.set_main_option("script_location", str(folder or migrations_folder()).replace("%", "%%"))
    config.set_main_option("path_separator", "os")
    return config


def upgrade(engine: Engine, revision: str = "head", folder: Path | None = None) -> None:
    """Apply the migrations of `folder` up to `revision`, all or none. Idempotent.

    Stores on one PostgreSQL database take turns here; on SQLite whoever calls sees to that. Raises
    BadSettings for what isn't a catalog, or is a newer version's; StorageFull and StorageFailed.
    """
    config = alembic_config(folder)
    with _named_faults(engine), migrating(engine) as connection:
        _check_encoding(connection, address_of(engine))
        _check_known(connection, ScriptDirectory.from_config(config), address_of(engine))
        config.attributes["connection"] = connection
        command.upgrade(config, revision)


def downgrade(engine: Engine, revision: str, folder: Path | None = None) -> None:
    """Take migrations back to `revision`."""
    config = alembic_config(folder)
    with migrating(engine) as connection:
        config.attributes["connection"] = connection
        command.downgrade(config, revision)


@contextmanager
def migrating(engine: Engine) -> Iterator[Connection]:
    """A transaction that may make tables anew.

    SQLite can alter little of a table in place: it is made anew, filled, and put in the old one's place. With
    foreign keys enforced, dropping the old one would fail or take rows along, and within a transaction they
    can't be switched off. So they are off from before it, and checked at its end.
    """
    sqlite = engine.dialect.name == "sqlite"
    with engine.connect().execution_options(inductory_write=True) as connection:
        driver = connection.connection.driver_connection
        try:
            if sqlite:
                driver.execute("PRAGMA foreign_keys=OFF")  # type: ignore[union-attr]
            with connection.begin():
                if not sqlite:
                    _take_turn(connection)
                yield connection
                if sqlite and connection.exec_driver_sql("PRAGMA foreign_key_check").first() is not None:
                    raise StorageFailed("a migration would have left rows that refer to nothing")
        finally:
            if sqlite:
                driver.execute("PRAGMA foreign_keys=ON")  # type: ignore[union-attr]


def is_current(connection: Connection) -> bool:
    """Whether all migrations that this code knows are applied.

    A revision that it doesn't know is a newer version's, which has applied them: its migrations leave a store
    that was running before at work.
    """
    scripts = ScriptDirectory.from_config(alembic_config())
    there = MigrationContext.configure(connection).get_current_revision()
    return there == scripts.get_current_head() or (there is not None and there not in _known(scripts))


def _take_turn(connection: Connection) -> None:
    """Wait until no other store migrates this database; the turn ends with the transaction."""
    connection.exec_driver_sql("SET LOCAL statement_timeout = 0")
    connection.exec_driver_sql(f"SET LOCAL lock_timeout = '{TURN_SECONDS_MAX}s'")
    connection.exec_driver_sql(f"SELECT pg_advisory_xact_lock({_TURN})")
    # A migration that waits for a table holds up all who come after it: it gives up sooner.
    connection.exec_driver_sql(f"SET LOCAL lock_timeout = '{BUSY_SECONDS_MAX}s'")


def _check_encoding(connection: Connection, address: str) -> None:
    if connection.dialect.name != "postgresql":
        return
    encoding = connection.exec_driver_sql("SHOW server_encoding").scalar()
    if encoding != "UTF8":
        raise BadSettings(f"the database {address} has the encoding {encoding}; the catalog takes UTF8")


def _known(scripts: ScriptDirectory) -> set[str]:
    return {each.revision for each in scripts.walk_revisions()}


def _check_known(connection: Connection, scripts: ScriptDirectory, address: str) -> None:
    there = MigrationContext.configure(connection).get_current_revision()
    if there is not None and there not in _known(scripts):
        raise BadSettings(
            f"the catalog {address} has the schema {there}, which this version of Inductory doesn't know; "
            "run the version that made it, or a newer one"
        )


@contextmanager
def _named_faults(engine: Engine) -> Iterator[None]:
    """Turn a driver's errors into ours, which name the catalog."""
    try:
        yield
    except (SQLAlchemyError, sqlite3.Error) as error:
        _log.error("the catalog failed: %s", error)
        address = address_of(engine)
        if driver_code(error) == "SQLITE_NOTADB":
            raise BadSettings(f"the catalog {address} isn't an SQLite database") from error
        raise fault_of(error, f"the catalog {address} can't be opened or migrated") from error
