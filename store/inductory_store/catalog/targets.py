"""Rows of `target` and `target_factor`."""

from __future__ import annotations

from collections.abc import Collection, Iterator
from itertools import groupby
from operator import itemgetter

from inductory_client.contract.target import Target
from sqlalchemy import Connection, select

from .insert import insert_all, insert_first
from .tables import target, target_factor

FACTORS_AT_ONCE = 500
"""Rows of factors that are read ahead: about a target's."""


def add_target(connection: Connection, value: Target, now: float) -> str:
    """Keep the factors of a target, once; return its fingerprint."""
    fingerprint = value.fingerprint
    if insert_first(connection, target, {"fingerprint": fingerprint, "created_at": now}):
        factors = value.factors.items()
        rows = [{"target": fingerprint, "name": name, "value": text} for name, text in factors]
        insert_all(connection, target_factor, rows)
    return fingerprint


def each_target(connection: Connection, fingerprints: Collection[str]) -> Iterator[tuple[str, Target]]:
    """Yield targets with their fingerprints, one in memory at a time, in one query."""
    query = (
        select(target_factor.c.target, target_factor.c.name, target_factor.c.value)
        .where(target_factor.c.target.in_(sorted(fingerprints)))
        .order_by(target_factor.c.target)
    )
    rows = connection.execute(query.execution_options(yield_per=FACTORS_AT_ONCE))
    for fingerprint, factors in groupby(rows, key=itemgetter(0)):
        yield fingerprint, Target({name: value for _, name, value in factors})
