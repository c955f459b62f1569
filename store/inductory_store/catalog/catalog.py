"""The catalog's transactions."""

from __future__ import annotations

import logging
from collections.abc import Iterator
from contextlib import contextmanager

from sqlalchemy import Connection
from sqlalchemy.exc import SQLAlchemyError

from .engine import engine_for, reading, reading_once
from .faults import fault_of

CONNECTIONS_MAX = 16

_log = logging.getLogger(__name__)


class Catalog:
    """SQL in transactions. A driver's errors leave as ours, its words go to the log only."""

    def __init__(self, url: str, connections_max: int = CONNECTIONS_MAX) -> None:
        """Connects to nothing yet. Raises BadSettings for an address that can't be one."""
        self.engine = engine_for(url, connections_max)
        self._reading = reading(self.engine)
        self._reading_once = reading_once(self.engine)

    @contextmanager
    def read(self) -> Iterator[Connection]:
        """A transaction that only reads: it sees one state of the catalog."""
        with _faults(), self.engine.connect() as connection:
            connection = connection.execution_options(**self._reading)
            with connection.begin():
                yield connection

    @contextmanager
    def read_once(self) -> Iterator[Connection]:
        """A connection for one statement that reads and doesn't stream: a third of the round trips."""
        with _faults(), self.engine.connect() as connection:
            yield connection.execution_options(**self._reading_once)

    @contextmanager
    def write(self) -> Iterator[Connection]:
        """A transaction that is committed at the end of the block, or not at all.

        On SQLite writers take turns. On PostgreSQL they meet: each statement sees what others have committed
        by then, so whoever decides by what is there holds its row first (`artifacts.hold_artifact`,
        `builds.read_build`), and whoever changes several rows takes them in order (`order.py`).
        """
        with _faults(), self.engine.connect() as connection:
            connection = connection.execution_options(inductory_write=True)
            with connection.begin():
                yield connection

    def close(self) -> None:
        """Close all connections."""
        self.engine.dispose()


@contextmanager
def _faults() -> Iterator[None]:
    try:
        yield
    except SQLAlchemyError as error:
        _log.error("the catalog failed: %s", error)
        raise fault_of(error, "the catalog failed to read or write") from error
