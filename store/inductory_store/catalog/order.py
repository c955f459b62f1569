"""Rows that one transaction changes together, taken in the order of their keys.

Two writers that took the same rows in different orders would wait for each other until the database ends one.
SQLite's writers take turns anyway, and need nothing of this.
"""

from __future__ import annotations

from typing import Any

from sqlalchemy import ColumnElement, Select, select


def in_order(*columns: ColumnElement[Any], where: ColumnElement[bool]) -> Select[Any]:
    """Return a query for the `columns` of rows that it takes one by one, waiting for each.

    The columns are the rows' key. Others may refer to a taken row meanwhile, but not change it.
    """
    return select(*columns).where(where).order_by(*columns).with_for_update(key_share=True)


def free_ones(*columns: ColumnElement[Any], where: ColumnElement[bool]) -> Select[Any]:
    """Return a query for the `columns` of those rows that nobody else has taken: it waits for none."""
    return select(*columns).where(where).with_for_update(skip_locked=True)
