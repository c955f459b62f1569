"""Leases: at most one process compiles a key, and whoever was too late is fenced off."""

from __future__ import annotations

import secrets
from collections.abc import Collection

from inductory_client.contract.errors import LeaseHeld, StaleLease
from inductory_client.contract.lease import (
    Heartbeat,
    HeldKey,
    KeysAwaited,
    Lease,
    Leased,
    LeasesEnded,
    LeasesReleased,
    LeasesRenewed,
    LeasesWanted,
    Standing,
)
from sqlalchemy import Connection

from inductory_store.catalog.artifacts import whole_artifacts
from inductory_store.catalog.leases import (
    database_time,
    end_leases,
    failed_keys,
    forget_old,
    grant,
    held_keys,
    locked_lease,
    note_failure,
    renew,
)
from inductory_store.store import Store

RETRY_S = 60.0
"""A compile that failed isn't tried again for so long; each failure doubles it."""
RETRY_S_MAX = 3600.0


def lease_keys(store: Store, namespace: str, wanted: LeasesWanted) -> Leased:
    """Grant what is neither published, nor held by another, nor failed just now; where it is wanted together,
    all of that or nothing.

    Idempotent: whoever asks again has what it had, for longer and under the same tokens.
    """
    keys = list(dict.fromkeys(wanted.keys))
    with store.catalog.write() as connection:
        now = database_time(connection, store.clock)
        published = whole_artifacts(connection, namespace, keys)
        failed = failed_keys(connection, namespace, set(keys) - published, now)
        tokens = {key: secrets.token_hex(16) for key in keys if key not in published and key not in failed}
        if wanted.together and failed:
            tokens = {}
        attempt = connection.begin_nested() if wanted.together else None
        granted = grant(connection, namespace, wanted.holder, tokens, now, now + wanted.seconds)
        if attempt is not None and len(granted) < len(tokens):
            attempt.rollback()
            granted = {}
        # Who had a lease may have published since that was looked up; its lease went with it.
        late = whole_artifacts(connection, namespace, granted)
        end_leases(connection, namespace, {key: granted.pop(key) for key in late})
        others = tokens.keys() - granted.keys() - late
        held = held_keys(connection, namespace, others, now)
        forget_old(connection, now)
    published |= late
    if not (wanted.together and held):
        # Who had a lease just now may have given it back since: then it is free at once.
        held |= {key: HeldKey(key=key, expires_in_s=0.0) for key in others - held.keys()}
    return Leased(
        granted=tuple(Lease(key=key, token=granted[key]) for key in keys if key in granted),
        held=tuple(held[key] for key in keys if key in held),
        published=tuple(key for key in keys if key in published),
        failed=tuple(failed[key] for key in keys if key in failed),
    )


def renew_leases(store: Store, namespace: str, heartbeat: Heartbeat) -> LeasesRenewed:
    """Let leases last longer that are still the asker's. Idempotent."""
    tokens = {each.key: each.token for each in heartbeat.leases}
    with store.catalog.write() as connection:
        expires_at = database_time(connection, store.clock) + heartbeat.seconds
        renewed = renew(connection, namespace, tokens, expires_at)
    return LeasesRenewed(keys=tuple(key for key in tokens if key in renewed))


def release_leases(store: Store, namespace: str, ended: LeasesEnded) -> LeasesReleased:
    """End leases whose keys weren't published, and note which compiles failed.

    A lease that another process has by now stays that one's. Idempotent.
    """
    tokens = {each.key: each.token for each in ended.leases}
    reasons = {each.key: each.failure for each in ended.leases}
    with store.catalog.write() as connection:
        now = database_time(connection, store.clock)
        released = end_leases(connection, namespace, tokens)
        for key in sorted(released):
            reason = reasons[key]
            if reason is not None:
                note_failure(connection, namespace, key, reason, lambda times: now + retry_s(times))
    return LeasesReleased(released=len(released))


def retry_s(failures: int) -> float:
    """Return for how long a compile isn't tried again that failed so often."""
    return min(RETRY_S * 2.0 ** min(failures - 1, 30), RETRY_S_MAX)


def standing(store: Store, namespace: str, asked: KeysAwaited) -> Standing:
    """Return how keys stand now."""
    keys = list(dict.fromkeys(asked.keys))
    with store.catalog.read() as connection:
        now = database_time(connection, store.clock)
        published = whole_artifacts(connection, namespace, keys)
        held = held_keys(connection, namespace, set(keys) - published, now)
        failed = failed_keys(connection, namespace, set(keys) - published - held.keys(), now)
    known = published | held.keys() | failed.keys()
    return Standing(
        published=tuple(key for key in keys if key in published),
        held=tuple(held[key] for key in keys if key in held),
        free=tuple(key for key in keys if key not in known),
        failed=tuple(failed[key] for key in keys if key in failed),
    )


def held(store: Store, namespace: str, keys: Collection[str]) -> frozenset[str]:
    """Return those of `keys` that somebody compiles now: a publication ends its lease."""
    with store.catalog.read() as connection:
        return frozenset(held_keys(connection, namespace, keys, database_time(connection, store.clock)))


def check_lease(connection: Connection, store: Store, namespace: str, key: str, token: str | None) -> None:
    """Raise LeaseHeld or StaleLease where somebody else is compiling what is about to be published.

    The lease is locked until the transaction ends, so it can't pass to another in between.
    """
    there = locked_lease(connection, namespace, key)
    if there is None or there.token == token:
        return
    if there.expires_at > database_time(connection, store.clock):
        raise LeaseHeld if token is None else StaleLease
