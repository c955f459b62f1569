"""Rows of `target` and `target_factor`."""

from __future__ import annotations

from collections.abc import Collection

from inductory_client.contract.target import Target
from sqlalchemy import Connection, select

from .insert import insert_all, insert_first
from .tables import target, target_factor


def add_target(connection: Connection, value: Target, now: float) -> str:
    """Keep the factors of a target, once; return its fingerprint."""
    fingerprint = value.fingerprint
    if insert_first(connection, target, {"fingerprint": fingerprint, "created_at": now}):
        factors = value.factors.items()
        rows = [{"target": fingerprint, "name": name, "value": text} for name, text in factors]
        insert_all(connection, target_factor, rows)
    return fingerprint


def targets(connection: Connection, fingerprints: Collection[str]) -> dict[str, Target]:
    """Return targets by fingerprint, in one query."""
    found: dict[str, dict[str, str]] = {fingerprint: {} for fingerprint in fingerprints}
    query = select(target_factor.c.target, target_factor.c.name, target_factor.c.value)
    for row in connection.execute(query.where(target_factor.c.target.in_(sorted(found)))):
        found[row.target][row.name] = row.value
    return {fingerprint: Target(factors) for fingerprint, factors in found.items()}
