"""Stores on one PostgreSQL database that do the same at once: what each transaction decides by stays true."""

from __future__ import annotations

from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing
from dataclasses import replace
from functools import partial
from urllib.parse import quote

import psycopg
import pytest
from inductory_client.contract import wire
from inductory_client.contract.artifact import Artifact
from inductory_client.contract.build import BuildEntry
from inductory_client.contract.digest import digest_of
from inductory_store.catalog import repeats
from inductory_store.catalog.blobs import mark_damaged
from inductory_store.operations.overview import overview
from inductory_store.operations.publish_artifact import publish_artifact
from inductory_store.operations.put_build import put_build
from inductory_store.operations.put_manifest import put_manifest
from inductory_store.operations.read_agreement import read_agreement
from inductory_store.operations.read_artifact import read_artifact
from inductory_store.operations.read_build import read_build
from inductory_store.operations.record_events import record_events
from inductory_store.store import Store
from msgspec import structs
from postgresql_server import PostgresqlServer
from replicas import NOW, Replicas, wait_until
from store_messages import artifact, build, descriptor, manifest


@pytest.fixture
def replicas(postgresql: PostgresqlServer) -> Iterator[Replicas]:
    with postgresql.database() as url:
        replicas = Replicas.on(url)
        for data in (b"one", b"two"):
            replicas.put_blob(data)
        yield replicas
        replicas.close()


def publish(value: Artifact, store: Store) -> str:
    return publish_artifact(store, "default", value.key, value).outcome


def kept(replicas: Replicas, key: str) -> Artifact:
    return wire.decode(read_artifact(replicas.first, "default", key), Artifact)


ONE, OTHER = (artifact([descriptor(data)]) for data in (b"one", b"two"))
"""Two compiles of one key."""


def test_the_first_to_commit_wins_and_the_other_is_compared(replicas: Replicas) -> None:
    assert replicas.meet(partial(publish, ONE), partial(publish, OTHER)) == ("created", "different")
    assert kept(replicas, ONE.key) == ONE
    agreement = read_agreement(replicas.second, "default", ONE.key)
    assert (agreement.reproduced, agreement.different) == (0, 1)


def test_lost_bytes_are_replaced_once(replicas: Replicas) -> None:
    """The second replacement would take away what somebody has loaded since the first."""
    lost = artifact([descriptor(b"lost")])
    replicas.put_blob(b"lost")
    publish(lost, replicas.first)
    with replicas.first.catalog.write() as connection:
        mark_damaged(connection, digest_of(b"lost"))
    assert replicas.meet(partial(publish, ONE), partial(publish, OTHER)) == ("created", "different")
    assert kept(replicas, ONE.key) == ONE


def test_what_is_counted_keeps_its_bound(replicas: Replicas, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(repeats, "REPEATS_MAX", 1)
    publish(ONE, replicas.first)
    again = [artifact([descriptor(b"one")], compile_seconds=seconds) for seconds in (3.0, 4.0)]
    replicas.meet(partial(publish, again[0]), partial(publish, again[1]))
    agreement = read_agreement(replicas.first, "default", ONE.key)
    assert (agreement.reproduced, len(agreement.repeats)) == (1, 1)


def test_a_manifest_is_new_once(replicas: Replicas) -> None:
    publish(ONE, replicas.first)
    value = manifest([ONE])
    put = lambda store: put_manifest(store, "default", value.id, value).created  # noqa: E731
    assert replicas.meet(put, put) == (True, False)


@pytest.mark.parametrize("there", [False, True], ids=["a new build", "a known build"])
def test_builds_unite(replicas: Replicas, there: bool) -> None:
    publish(ONE, replicas.first)
    captured = [manifest([ONE], f"outer {at}") for at in range(4)]
    for each in captured:
        put_manifest(replicas.first, "default", each.id, each)
    start = build([], "default")
    if there:
        put_build(replicas.first, "default", start.key, start)

    def put(at: int, store: Store) -> int:
        entries = tuple(BuildEntry(name="forward", manifest=each.id) for each in captured[at : at + 3])
        sent = structs.replace(start, entries=entries)
        return put_build(store, "default", start.key, sent).entries

    assert replicas.meet(partial(put, 0), partial(put, 1)) == (3, 4)
    read = read_build(replicas.second, "default", start.key)
    assert [entry.manifest for entry in read.entries] == [each.id for each in captured]


SCANNING = "-c enable_indexscan=off -c enable_indexonlyscan=off -c enable_bitmapscan=off"
"""Has PostgreSQL come upon rows as they lie, in the order in which they were written."""


def test_rows_that_change_together_are_taken_in_order(replicas: Replicas) -> None:
    values = sorted((artifact([descriptor(b"one")], f"graph {at}") for at in range(4)), key=lambda a: a.key)
    for value in reversed(values):
        publish(value, replicas.first)
    captured = manifest(values)
    scanning = Replicas.on(f"{replicas.url}?options={quote(SCANNING)}")
    with closing(scanning), ThreadPoolExecutor(1) as pool, psycopg.connect(replicas.url) as holder:
        holder.execute("SELECT key FROM artifact WHERE key = %s FOR NO KEY UPDATE", [values[1].key])
        put = pool.submit(put_manifest, scanning.first, "default", captured.id, captured)
        wait_until(lambda: put.done() or replicas.waiting())
        free = "SELECT key FROM artifact ORDER BY key FOR NO KEY UPDATE SKIP LOCKED"
        with psycopg.connect(replicas.url) as looker:
            found = [key for (key,) in looker.execute(free)]
        assert found == [each.key for each in values[2:]], "none is taken after the one that is waited for"
        holder.rollback()
        assert put.result().created


def events(at: float, *kinds: str) -> wire.Events:
    return wire.Events(events=tuple(wire.Event(kind=kind, at=at) for kind in kinds))  # type: ignore[arg-type]


def test_events_of_one_minute_are_summed_in_whatever_order_they_are_sent(replicas: Replicas) -> None:
    kinds = ("hit", "miss", "load", "compile", "publish", "refused", "fallback")
    minutes = [NOW - 60 * at for at in range(30)]
    sent = wire.Events(events=tuple(each for at in minutes for each in events(at, *kinds).events))
    turned = wire.Events(events=tuple(reversed(sent.events)))

    def report(store: Store, batch: wire.Events) -> None:
        for _ in range(20):
            record_events(store, "default", batch)

    with ThreadPoolExecutor(2) as pool:
        for each in [
            pool.submit(report, replicas.first, sent),
            pool.submit(report, replicas.second, turned),
        ]:
            each.result()
    assert overview(replicas.first).day.hits == 2 * 20 * len(minutes)


def test_forgetting_old_events_waits_for_nobody(replicas: Replicas) -> None:
    later = NOW + 31 * 86400
    record_events(replicas.first, "default", events(NOW, "hit"))

    def add(store: Store) -> int:
        return record_events(store, "default", events(NOW, "hit", "miss")).stored

    def forget(store: Store) -> int:
        return record_events(replace(store, clock=lambda: later), "default", events(later, "hit")).stored

    assert replicas.meet(add, forget) == (2, 1)
    assert overview(replicas.first).day.hits == 3, "what was taken was left for another time"
    forget(replicas.second)
    assert overview(replicas.first).day.hits == 2
