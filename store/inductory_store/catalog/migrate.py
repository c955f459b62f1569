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
from inductory_client.contract.errors import BadSettings, StorageFailed, StorageFull
from sqlalchemy import Connection, Engine
from sqlalchemy.exc import SQLAlchemyError

_log = logging.getLogger(__name__)


def migrations_folder() -> Path:
    """Return where the migrations are: in the installed package, or at the top of a checkout."""
    installed = Path(__file__).parents[1] / "migrations"
    return installed if installed.is_dir() else Path(__file__).parents[3] / "migrations"


def address_of(engine: Engine) -> str:
    """Return where a catalog is, for people: a file, or an address without its password."""
    file = engine.url.database if engine.dialect.name == "sqlite" else None
    return file or engine.url.render_as_string()


def alembic_config(folder: Path | None = None) -> Config:
    """Return Alembic's configuration, made without a file; `folder` is this code's migrations unless told."""
    config = Config()
    config.set_main_option("script_location", str(folder or migrations_folder()).replace("%", "%%"))
    config.set_main_option("path_separator", "os")
    return config


def upgrade(engine: Engine, revision: str = "head", folder: Path | None = None) -> None:
    """Apply the migrations of `folder` up to `revision`, all or none. Idempotent; one process at a time.

    Raises BadSettings for what isn't a catalog, or is a newer version's; StorageFull and StorageFailed.
    """
    config = alembic_config(folder)
    with _named_faults(engine), migrating(engine) as connection:
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
                yield connection
                if sqlite and connection.exec_driver_sql("PRAGMA foreign_key_check").first() is not None:
                    raise StorageFailed("a migration would have left rows that refer to nothing")
        finally:
            if sqlite:
                driver.execute("PRAGMA foreign_keys=ON")  # type: ignore[union-attr]


def is_current(connection: Connection) -> bool:
    """Whether all migrations that this code knows are applied."""
    head = ScriptDirectory.from_config(alembic_config()).get_current_head()
    return MigrationContext.configure(connection).get_current_revision() == head


def _check_known(connection: Connection, scripts: ScriptDirectory, address: str) -> None:
    there = MigrationContext.configure(connection).get_current_revision()
    if there is not None and there not in {each.revision for each in scripts.walk_revisions()}:
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
        cause = getattr(error, "orig", None) or error
        name, address = getattr(cause, "sqlite_errorname", ""), address_of(engine)
        if name == "SQLITE_FULL":
            raise StorageFull from error
        if name == "SQLITE_NOTADB":
            raise BadSettings(f"the catalog {address} isn't an SQLite database") from error
        raise StorageFailed(f"the catalog {address} can't be opened or migrated") from error
