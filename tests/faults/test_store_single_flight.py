"""One compile a key, on PostgreSQL: replicas and clients that race, clocks that are wrong."""

from __future__ import annotations

import random
import threading
from collections import Counter
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack
from dataclasses import replace
from functools import partial
from pathlib import Path

import pytest
from client_samples import client, draft
from inductory_client import connection
from inductory_client.client import Client
from inductory_client.contract.errors import LeaseHeld, StaleLease
from inductory_client.contract.lease import Lease, Leased, LeasesWanted
from inductory_client.graph.turns import Turns
from inductory_client.publication import Publication
from inductory_store.catalog.tables import lease
from inductory_store.operations.lease_keys import lease_keys
from inductory_store.operations.publish_artifact import publish_artifact
from inductory_store.store import Store
from postgresql_server import PostgresqlServer
from replicas import Replicas
from sqlalchemy import update
from store_messages import artifact, descriptor
from store_process import StoreProcess

REPLICAS, CLIENTS, KEYS, GRAPH_KEYS = 3, 64, 50, 5
HOUR = 3600.0

ONE = artifact([descriptor(b"one")])


@pytest.fixture
def replicas(postgresql: PostgresqlServer) -> Iterator[Replicas]:
    with postgresql.database() as url:
        replicas = Replicas.on(url)
        replicas.put_blob(b"one")
        yield replicas
        replicas.close()


def take(holder: str, store: Store, seconds: float = 60) -> Leased:
    return lease_keys(store, "default", LeasesWanted(holder=holder, keys=(ONE.key,), seconds=seconds))


def publish(token: str | None, store: Store) -> str:
    return publish_artifact(store, "default", ONE.key, ONE, token).outcome


def refused(token: str | None, store: Store) -> type[Exception] | None:
    try:
        publish(token, store)
    except (LeaseHeld, StaleLease) as error:
        return type(error)
    return None


def token_of(leased: Leased) -> str:
    (granted,) = leased.granted
    assert isinstance(granted, Lease)
    return granted.token


def shuffled(keys: list[str], seed: str) -> list[list[str]]:
    """Return the keys of graphs, each key in one, in another order for every seed."""
    random.Random(seed).shuffle(keys)
    return [keys[start : start + GRAPH_KEYS] for start in range(0, len(keys), GRAPH_KEYS)]


def test_of_two_that_ask_at_once_one_is_granted(replicas: Replicas) -> None:
    first, second = replicas.meet(partial(take, "a"), partial(take, "b"))
    assert (len(first.granted), len(second.granted)) == (1, 0)
    assert second.held[0].key == ONE.key


def test_who_asks_while_it_is_published_is_told_that_it_is(replicas: Replicas) -> None:
    token = token_of(take("a", replicas.first))
    _, second = replicas.meet(partial(publish, token), partial(take, "b"))
    assert second.published == (ONE.key,)
    assert take("c", replicas.first).published == (ONE.key,), "and nobody has a lease of it"


def test_a_lease_that_passes_to_another_in_the_middle_is_stale(replicas: Replicas) -> None:
    old = token_of(take("frozen", replicas.first))
    with replicas.first.catalog.write() as connection:
        connection.execute(update(lease).values(expires_at=0))
    leased, error = replicas.meet(partial(take, "next"), partial(refused, old))
    assert error is StaleLease
    assert publish(token_of(leased), replicas.first) == "created"


def test_what_is_published_in_the_middle_of_a_takeover_stays(replicas: Replicas) -> None:
    """The lease had run out, and nobody had taken it when its holder published: it was in time."""
    late = token_of(take("late", replicas.first))
    with replicas.first.catalog.write() as connection:
        connection.execute(update(lease).values(expires_at=0))
    outcome, leased = replicas.meet(partial(publish, late), partial(take, "next"))
    assert outcome == "created"
    assert leased.published == (ONE.key,)


@pytest.mark.parametrize("off", [HOUR, -HOUR])
def test_a_clock_that_is_an_hour_off_decides_nothing(replicas: Replicas, off: float) -> None:
    wrong = replace(replicas.second, clock=lambda: replicas.second.clock() + off)
    token = token_of(take("a", replicas.first))
    assert 0 < take("b", wrong).held[0].expires_in_s <= 60
    assert refused(None, wrong) is LeaseHeld
    assert publish(token, wrong) == "created"


def test_three_replicas_and_64_clients_race_for_the_same_keys(
    postgresql: PostgresqlServer, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    # A process opens few connections at once; this one is 64 machines.
    monkeypatch.setattr(connection._openings, "free", threading.BoundedSemaphore(CLIENTS * 2))
    drafts = {each.subject.key: each for each in (draft(f"piece {at}") for at in range(KEYS))}
    compiled: Counter[str] = Counter()
    counting = threading.Lock()
    begin = threading.Barrier(CLIENTS)

    def start(node: Client) -> None:
        """Start as a model does whose pieces nobody has, graph by graph."""

        def compile_here(keys: object, others: bool) -> None:
            mine = [drafts[key] for key in sorted(keys)]  # type: ignore[call-overload]
            with counting:
                compiled.update(each.subject.key for each in mine)
            report = node.publisher.publish_now(Publication(artifacts=tuple(mine)))
            assert (report.created, report.left) == (len(mine), ())
            node.leases.end(each.subject.key for each in mine)

        graphs = shuffled(list(drafts), node.settings.cache_dir.parent.name)
        begin.wait()
        for graph in graphs:
            turns = Turns(node.leases, compile_here=compile_here, bring=set, patience_s=600)
            turns.take(graph)
            assert not turns.impatient

    with ExitStack() as stack:
        url = stack.enter_context(postgresql.database())
        environ = {"INDUCTORY_STORE_DATABASE_URL": url}
        stores = [stack.enter_context(StoreProcess(tmp_path / "data", environ)) for _ in range(REPLICAS)]
        with client(tmp_path / "keys") as keys:
            keys.signing_key()
        nodes = [
            stack.enter_context(
                client(
                    tmp_path / f"node{at}",
                    url=stores[at % REPLICAS].url,
                    config_dir=tmp_path / "keys" / "config",
                    store_deadline_s=600.0,
                )
            )
            for at in range(CLIENTS)
        ]
        with ThreadPoolExecutor(CLIENTS) as pool:
            list(pool.map(start, nodes))
    assert compiled == Counter(drafts.keys()), "each once"
