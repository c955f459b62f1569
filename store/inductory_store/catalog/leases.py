"""Rows of `lease` and `compile_failure`: who compiles a key, and which compiles failed."""

from __future__ import annotations

from collections.abc import Callable, Collection, Mapping
from dataclasses import dataclass

from inductory_client.contract.lease import FailedKey, HeldKey
from sqlalchemy import ColumnElement, Connection, case, delete, func, or_, select, tuple_, update

from .batches import among
from .insert import insert_for, insert_or_replace
from .order import free_ones, in_order
from .tables import compile_failure, lease

FORGET_AFTER_S = 86_400.0
"""Leases that ran out and failures that may be tried again are kept so long, and then removed."""


@dataclass(frozen=True)
class LeaseRow:
    """A lease as it stands, alive or not."""

    token: str
    expires_at: float


def database_time(connection: Connection, clock: Callable[[], float]) -> float:
    """Return seconds since the epoch by a clock that all replicas share: the database server's.

    SQLite has no server; who shares its file shares the machine, and `clock` with it.
    """
    if connection.dialect.name == "postgresql":
        found = connection.scalar(select(func.extract("epoch", func.clock_timestamp())))
        assert found is not None
        return float(found)
    return clock()


def grant(
    connection: Connection,
    namespace: str,
    holder: str,
    tokens: Mapping[str, str],
    now: float,
    expires_at: float,
) -> dict[str, str]:
    """Give `holder` the leases that nobody else has, and return their tokens by key.

    `tokens` are by key, for leases that are new; one that `holder` has already keeps its own, also when it
    had run out and nobody took it. Atomic a key: of racing holders one gets it.
    """
    rows = [
        {"namespace": namespace, "key": key, "holder": holder, "token": token, "expires_at": expires_at}
        for key, token in sorted(tokens.items())  # in one order everywhere, so that nobody waits in a circle
    ]
    if not rows:
        return {}
    statement = insert_for(connection, lease).values(rows)
    new = statement.excluded
    statement = statement.on_conflict_do_update(
        index_elements=["namespace", "key"],
        set_={
            "holder": new.holder,
            "token": case((lease.c.holder == new.holder, lease.c.token), else_=new.token),
            "expires_at": new.expires_at,
        },
        where=or_(lease.c.expires_at <= now, lease.c.holder == new.holder),
    )
    granted = connection.execute(statement.returning(lease.c.key, lease.c.token))
    return {row.key: row.token for row in granted}


def renew(connection: Connection, namespace: str, tokens: Mapping[str, str], expires_at: float) -> set[str]:
    """Let leases last longer, by key and token, and return the keys of those that are there.

    One that had run out and that nobody took is alive again.
    """
    statement = update(lease).where(_these(namespace, tokens)).values(expires_at=expires_at)
    return set(connection.scalars(statement.returning(lease.c.key)))


def held_keys(
    connection: Connection, namespace: str, keys: Collection[str], now: float
) -> dict[str, HeldKey]:
    """Return those of `keys` that somebody compiles, by key."""
    query = select(lease.c.key, lease.c.expires_at).where(lease.c.namespace == namespace)
    rows = (
        row
        for portion in among(lease.c.key, keys)
        for row in connection.execute(query.where(portion, lease.c.expires_at > now))
    )
    return {row.key: HeldKey(key=row.key, expires_in_s=row.expires_at - now) for row in rows}


def locked_lease(connection: Connection, namespace: str, key: str) -> LeaseRow | None:
    """Return the lease of a key, and let nobody change it until the end of the transaction."""
    query = select(lease.c.token, lease.c.expires_at).where(
        lease.c.namespace == namespace, lease.c.key == key
    )
    row = connection.execute(query.with_for_update()).first()
    return None if row is None else LeaseRow(*row)


def end_leases(connection: Connection, namespace: str, tokens: Mapping[str, str]) -> set[str]:
    """Remove leases by key and token, and return the keys of those that were there."""
    statement = delete(lease).where(_these(namespace, tokens))
    return set(connection.scalars(statement.returning(lease.c.key)))


def _these(namespace: str, tokens: Mapping[str, str]) -> ColumnElement[bool]:
    """Leases by key and token, taken in order."""
    of_namespace = lease.c.namespace == namespace
    pairs = tuple_(lease.c.key, lease.c.token).in_(list(tokens.items()))
    return of_namespace & lease.c.key.in_(in_order(lease.c.key, where=of_namespace & pairs))


def forget_key(connection: Connection, namespace: str, key: str) -> None:
    """Remove what stands between a key and whoever wants it: it is published."""
    for table in (lease, compile_failure):
        connection.execute(delete(table).where(table.c.namespace == namespace, table.c.key == key))


def note_failure(
    connection: Connection, namespace: str, key: str, reason: str, retry_at: Callable[[int], float]
) -> None:
    """Note that a compile failed; `retry_at` is told how often that was so far."""
    of_key = (compile_failure.c.namespace == namespace, compile_failure.c.key == key)
    before = connection.scalar(select(compile_failure.c.failures).where(*of_key)) or 0
    row = {
        "namespace": namespace,
        "key": key,
        "reason": reason,
        "failures": before + 1,
        "retry_at": retry_at(before + 1),
    }
    insert_or_replace(connection, compile_failure, row)


def failed_keys(
    connection: Connection, namespace: str, keys: Collection[str], now: float
) -> dict[str, FailedKey]:
    """Return those of `keys` whose compile failed and may not be tried again yet, by key."""
    query = select(compile_failure).where(
        compile_failure.c.namespace == namespace, compile_failure.c.retry_at > now
    )
    rows = (
        row
        for portion in among(compile_failure.c.key, keys)
        for row in connection.execute(query.where(portion))
    )
    return {row.key: FailedKey(key=row.key, reason=row.reason, retry_in_s=row.retry_at - now) for row in rows}


def forget_old(connection: Connection, now: float) -> None:
    """Remove what nobody has asked about for long; what another store is at work on goes another time."""
    before = now - FORGET_AFTER_S
    for table, column in ((lease, lease.c.expires_at), (compile_failure, compile_failure.c.retry_at)):
        key = tuple(table.primary_key)
        connection.execute(delete(table).where(tuple_(*key).in_(free_ones(*key, where=column < before))))
