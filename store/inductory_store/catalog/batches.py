"""Many values in one question, in portions that a statement can take."""

from __future__ import annotations

from collections.abc import Collection, Iterator

from sqlalchemy import ColumnElement

IN_MAX = 10_000
"""Most values in one IN (...): SQLite takes 32766 parameters a statement."""


def among(column: ColumnElement[str], values: Collection[str]) -> Iterator[ColumnElement[bool]]:
    """Yield conditions that `column` is one of `values`, one a statement; together they cover all."""
    wanted = sorted(set(values))
    for start in range(0, len(wanted), IN_MAX):
        yield column.in_(wanted[start : start + IN_MAX])
