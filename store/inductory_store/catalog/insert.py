"""Inserts that mind what is there, in the words that SQLite and PostgreSQL share."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from sqlalchemy import Connection, Table, insert
from sqlalchemy.dialects import postgresql, sqlite

Row = Mapping[str, Any]


def insert_all(connection: Connection, table: Table, rows: Sequence[Row]) -> None:
    """Insert `rows`, none of which is there."""
    if rows:
        connection.execute(insert(table), rows)


def insert_first(connection: Connection, table: Table, row: Row) -> bool:
    """Insert `row` unless its primary key is there, and say whether it was; of racing writers one wins."""
    # Not by the count of rows, which not every driver tells of an insert.
    statement = insert_for(connection, table).values(**row).on_conflict_do_nothing()
    return connection.execute(statement.returning(*table.primary_key)).first() is not None


def insert_or_replace(connection: Connection, table: Table, row: Row) -> None:
    """Insert `row`, or give the row with its primary key its values."""
    keys = [column.name for column in table.primary_key]
    statement = insert_for(connection, table).values(**row)
    others = {name: statement.excluded[name] for name in row if name not in keys}
    connection.execute(statement.on_conflict_do_update(index_elements=keys, set_=others))


def insert_or_add(connection: Connection, table: Table, rows: Sequence[Row], added: Sequence[str]) -> None:
    """Insert `rows`; where a primary key is there, add the columns `added` to its."""
    if not rows:
        return
    keys = [column.name for column in table.primary_key]
    statement = insert_for(connection, table)
    sums = {name: table.c[name] + statement.excluded[name] for name in added}
    connection.execute(statement.on_conflict_do_update(index_elements=keys, set_=sums), rows)


def insert_for(connection: Connection, table: Table) -> Any:
    """Return an insert that can say what becomes of rows that are there."""
    if connection.dialect.name == "postgresql":
        return postgresql.insert(table)
    return sqlite.insert(table)
