"""One compile a key: leases, who is fenced off, who is told what, and compiles that failed."""

from __future__ import annotations

import http.client
import threading
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from urllib.parse import urlsplit

import pytest
from inductory_client.contract import lease, wire
from inductory_client.contract.artifact import Artifact
from inductory_client.contract.digest import digest_of
from inductory_store.catalog.catalog import Catalog
from inductory_store.catalog.tables import compile_failure
from inductory_store.catalog.tables import lease as lease_table
from inductory_store.operations.lease_keys import RETRY_S, RETRY_S_MAX, retry_s
from sqlalchemy import select, update
from store_messages import Talk, artifact, descriptor, problem
from store_process import Database, StoreProcess

DATA = b"what was compiled"


@pytest.fixture(scope="module")
def store(tmp_path_factory: pytest.TempPathFactory, module_database: Database) -> Iterator[StoreProcess]:
    with StoreProcess(tmp_path_factory.mktemp("store") / "data", module_database) as process:
        yield process


@pytest.fixture(scope="module")
def catalog(store: StoreProcess, module_database: Database) -> Iterator[Catalog]:
    """The catalog behind the store's back."""
    url = module_database.get("INDUCTORY_STORE_DATABASE_URL")
    catalog = Catalog(url or f"sqlite:///{store.data_dir / 'catalog.sqlite3'}")
    yield catalog
    catalog.close()


@pytest.fixture
def talk(store: StoreProcess, request: pytest.FixtureRequest) -> Iterator[Talk]:
    """A namespace of its own for each test."""
    talk = Talk(store.url, "leases-" + digest_of(request.node.name.encode())[:12])
    talk.put_blob(DATA)
    yield talk
    talk.http.close()


def value(graph: str = "graph") -> Artifact:
    return artifact([descriptor(DATA)], graph)


def lease_as(
    talk: Talk, holder: str, *keys: str, seconds: float = 60, together: bool = False
) -> lease.Leased:
    asked = lease.LeasesWanted(holder=holder, keys=keys, seconds=seconds, together=together)
    answer = talk.http.post("/v1/leases", content=wire.encode(asked))
    assert answer.status_code == 200, answer.text
    return wire.decode(answer.content, lease.Leased)


def token_of(leased: lease.Leased) -> str:
    (granted,) = leased.granted
    return granted.token


def renew(talk: Talk, key: str, token: str, seconds: float = 60) -> tuple[str, ...]:
    heartbeat = lease.Heartbeat(leases=(lease.Lease(key=key, token=token),), seconds=seconds)
    answer = talk.http.post("/v1/leases:renew", content=wire.encode(heartbeat))
    assert answer.status_code == 200, answer.text
    return wire.decode(answer.content, lease.LeasesRenewed).keys


def release(talk: Talk, key: str, token: str, failure: str | None = None) -> int:
    ended = lease.LeasesEnded(leases=(lease.LeaseEnd(key=key, token=token, failure=failure),))
    answer = talk.http.post("/v1/leases:release", content=wire.encode(ended))
    assert answer.status_code == 200, answer.text
    return wire.decode(answer.content, lease.LeasesReleased).released


def wait(talk: Talk, *keys: str, wait_s: float = 0) -> lease.Standing:
    asked = lease.KeysAwaited(keys=keys, wait_s=wait_s)
    answer = talk.http.post("/v1/leases:wait", content=wire.encode(asked))
    assert answer.status_code == 200, answer.text
    return wire.decode(answer.content, lease.Standing)


def run_out(catalog: Catalog, talk: Talk) -> None:
    """Let all leases of a namespace run out, and all failures be old."""
    with catalog.write() as connection:
        for table, column in ((lease_table, "expires_at"), (compile_failure, "retry_at")):
            connection.execute(
                update(table)
                .where(table.c.namespace == talk.namespace)
                .values({column: table.c[column] - 9999})
            )


def test_one_is_granted_and_the_other_is_told_for_how_long(talk: Talk) -> None:
    key = value().key
    assert lease_as(talk, "a", key).granted[0].key == key
    other = lease_as(talk, "b", key)
    assert not other.granted
    assert other.held[0].key == key
    assert 0 < other.held[0].expires_in_s <= 60


def test_a_heartbeat_makes_it_last_longer(talk: Talk) -> None:
    key = value().key
    token = token_of(lease_as(talk, "a", key, seconds=5))
    assert lease_as(talk, "b", key).held[0].expires_in_s <= 5
    assert renew(talk, key, token, seconds=500) == (key,)
    assert lease_as(talk, "b", key).held[0].expires_in_s > 400
    assert renew(talk, key, "0" * 32, seconds=5) == (), "not by anybody else"
    assert lease_as(talk, "b", key).held[0].expires_in_s > 400


def test_asking_twice_is_asking_once(talk: Talk) -> None:
    key = value().key
    assert lease_as(talk, "a", key).granted == lease_as(talk, "a", key).granted


def test_every_key_is_answered_once(talk: Talk) -> None:
    published, held, failed, free = (value(name) for name in ("published", "held", "failed", "free"))
    talk.put_artifact(published)
    lease_as(talk, "b", held.key)
    release(talk, failed.key, token_of(lease_as(talk, "b", failed.key)), "it can't be compiled")
    keys = [each.key for each in (published, held, failed, free)]
    found = lease_as(talk, "a", *keys, free.key)
    assert [each.key for each in found.granted] == [free.key]
    assert [each.key for each in found.held] == [held.key]
    assert [each.key for each in found.failed] == [failed.key]
    assert found.published == (published.key,)
    assert wait(talk, *keys).published == (published.key,)


def test_only_the_holder_publishes_while_its_lease_is_alive(talk: Talk) -> None:
    found = value()
    token = token_of(lease_as(talk, "a", found.key))
    problem(talk.put_artifact(found), 409, "lease_held")
    problem(talk.put_artifact(found, lease="0" * 32), 409, "stale_lease")
    assert talk.resolve(found.key).hits == (), "nothing was kept"
    assert talk.put_artifact(found, lease=token).status_code == 201
    assert talk.resolve(found.key).hits == (found,)


def test_the_lease_ends_with_the_publication(talk: Talk, catalog: Catalog) -> None:
    found = value()
    token = token_of(lease_as(talk, "a", found.key))
    talk.put_artifact(found, lease=token)
    assert lease_as(talk, "a", found.key).published == (found.key,)
    assert release(talk, found.key, token) == 0
    with catalog.read() as connection:
        left = connection.execute(select(lease_table.c.key).where(lease_table.c.namespace == talk.namespace))
        assert left.all() == []
    again = talk.put_artifact(found, lease=token)
    assert wire.decode(again.content, wire.Published).outcome == "reproduced", "repeated, as ever"


def test_a_holder_that_was_frozen_is_fenced_off(talk: Talk, catalog: Catalog) -> None:
    found = value()
    old = token_of(lease_as(talk, "frozen", found.key))
    run_out(catalog, talk)
    new = token_of(lease_as(talk, "next", found.key))
    assert new != old
    problem(talk.put_artifact(found, lease=old), 409, "stale_lease")
    assert talk.resolve(found.key).hits == ()
    assert renew(talk, found.key, old) == (), "and doesn't get it back"
    assert release(talk, found.key, old) == 0
    assert talk.put_artifact(found, lease=new).status_code == 201


def test_a_lease_that_ran_out_and_nobody_took_is_still_good(talk: Talk, catalog: Catalog) -> None:
    found = value()
    token = token_of(lease_as(talk, "slow", found.key))
    run_out(catalog, talk)
    assert renew(talk, found.key, token) == (found.key,)
    assert lease_as(talk, "next", found.key).held
    run_out(catalog, talk)
    assert talk.put_artifact(found, lease=token).status_code == 201


def test_what_was_given_back_is_free_at_once(talk: Talk) -> None:
    key = value().key
    token = token_of(lease_as(talk, "a", key))
    assert release(talk, key, token) == 1
    assert wait(talk, key).free == (key,)
    assert token_of(lease_as(talk, "b", key)) != token


def test_a_compile_that_failed_is_tried_later_and_by_one(talk: Talk, catalog: Catalog) -> None:
    found = value()
    release(talk, found.key, token_of(lease_as(talk, "a", found.key)), "no such instruction")
    (failed,) = lease_as(talk, "b", found.key).failed
    assert failed.reason == "no such instruction"
    assert 0 < failed.retry_in_s <= RETRY_S
    assert wait(talk, found.key).failed[0].key == found.key
    run_out(catalog, talk)
    token = token_of(lease_as(talk, "b", found.key))
    assert lease_as(talk, "c", found.key).held, "one retry at a time"
    release(talk, found.key, token, "no such instruction")
    assert lease_as(talk, "c", found.key).failed[0].retry_in_s > RETRY_S, "longer each time"
    assert retry_s(10**6) == RETRY_S_MAX


def test_a_publication_ends_a_failure(talk: Talk) -> None:
    found = value()
    release(talk, found.key, token_of(lease_as(talk, "a", found.key)), "out of memory")
    assert talk.put_artifact(found).status_code == 201, "without a lease: nobody has one"
    assert lease_as(talk, "b", found.key).published == (found.key,)


def test_who_waits_is_told_once_it_is_published(talk: Talk) -> None:
    found = value()
    token = token_of(lease_as(talk, "a", found.key))
    with ThreadPoolExecutor(4) as pool:
        waits = [pool.submit(wait, talk, found.key, wait_s=60) for _ in range(4)]
        talk.put_artifact(found, lease=token)
        assert {each.result().published for each in waits} == {(found.key,)}


def test_who_waits_is_told_once_the_holder_is_gone(talk: Talk, catalog: Catalog) -> None:
    key = value().key
    lease_as(talk, "a", key)
    begun = threading.Event()

    def waiting() -> lease.Standing:
        begun.set()
        return wait(talk, key, wait_s=60)

    with ThreadPoolExecutor(1) as pool:
        told = pool.submit(waiting)
        begun.wait()
        run_out(catalog, talk)
        assert told.result().free == (key,)


def test_who_waits_in_vain_is_told_that(talk: Talk) -> None:
    key = value().key
    lease_as(talk, "a", key)
    assert wait(talk, key, wait_s=0.01).held[0].key == key


def test_those_who_wait_are_let_go_when_the_store_ends(tmp_path: Path) -> None:
    with StoreProcess(tmp_path / "data") as store:
        talk = Talk(store.url, "default")
        key = value().key
        lease_as(talk, "a", key)
        asked = wire.encode(lease.KeysAwaited(keys=(key,), wait_s=60))
        address = urlsplit(store.url)
        waiting = http.client.HTTPConnection(str(address.hostname), address.port)
        waiting.request("POST", "/v1/leases:wait", asked)
        assert talk.http.get("/readyz").is_success, "and the one before has been received, too"
        store.stop()
        answer = waiting.getresponse()
        assert answer.status == 200
        assert wire.decode(answer.read(), lease.Standing).held[0].key == key
        waiting.close()
        talk.http.close()


def test_of_many_that_race_one_is_granted(talk: Talk) -> None:
    keys = [value(f"graph {at}").key for at in range(20)]
    with ThreadPoolExecutor(8) as pool:
        found = list(pool.map(lambda at: lease_as(talk, f"holder-{at}", *keys), range(8)))
    granted = [each.key for leased in found for each in leased.granted]
    assert sorted(granted) == sorted(keys)


def test_what_is_wanted_together_is_granted_whole_or_not_at_all(talk: Talk, catalog: Catalog) -> None:
    keys = sorted(value(name).key for name in "abc")
    lease_as(talk, "other", keys[1])
    old = token_of(lease_as(talk, "a", keys[2], seconds=5))
    answer = lease_as(talk, "a", *keys, seconds=600, together=True)
    assert (answer.granted, [each.key for each in answer.held]) == ((), keys[1:])
    assert answer.held[1].expires_in_s <= 5, "what it had before stays as it was"
    assert wait(talk, keys[0]).free == (keys[0],)
    run_out(catalog, talk)
    answer = lease_as(talk, "a", *keys, together=True)
    assert [each.key for each in answer.granted] == keys
    assert answer.granted[2].token == old
    assert lease_as(talk, "a", *keys, together=True) == answer, "and so is another process of that name told"


def test_with_a_failure_nothing_is_granted_together(talk: Talk) -> None:
    keys = sorted(value(name).key for name in "ab")
    release(talk, keys[0], token_of(lease_as(talk, "other", keys[0])), "no such instruction")
    answer = lease_as(talk, "a", *keys, together=True)
    assert (answer.granted, answer.held, [each.key for each in answer.failed]) == ((), (), keys[:1])
    assert wait(talk, keys[1]).free == (keys[1],)


def test_what_is_published_isnt_wanted_any_more(talk: Talk) -> None:
    keys = sorted(value(name).key for name in "ab")
    published = next(name for name in "ab" if value(name).key == keys[0])
    assert talk.put_artifact(value(published)).is_success
    answer = lease_as(talk, "a", *keys, together=True)
    assert (answer.published, [each.key for each in answer.granted]) == ((keys[0],), keys[1:])


def test_of_many_that_race_for_two_together_one_is_granted_both(talk: Talk) -> None:
    keys = sorted(value(name).key for name in "ab")

    def ask(number: int) -> int:
        order = keys if number % 2 else keys[::-1]
        return len(lease_as(talk, f"node-{number}", *order, together=True).granted)

    with ThreadPoolExecutor(16) as pool:
        assert sorted(pool.map(ask, range(16))) == [0] * 15 + [2]


def test_namespaces_have_leases_of_their_own(talk: Talk) -> None:
    key = value().key
    lease_as(talk, "a", key)
    other = Talk(talk.url, talk.namespace + "-other")
    assert lease_as(other, "b", key).granted
    other.http.close()


@pytest.mark.parametrize(
    "body",
    [
        b'{"holder": "", "keys": [], "seconds": 30}',
        b'{"holder": "a b", "keys": [], "seconds": 30}',
        b'{"holder": "a", "keys": ["xyz"], "seconds": 30}',
        b'{"holder": "a", "keys": [], "seconds": 0}',
        b'{"holder": "a", "keys": [], "seconds": 1e9}',
        b'{"holder": "a", "keys": [], "seconds": 30, "more": 1}',
        b'{"holder": "a", "keys": [' + b",".join([b'"' + b"a" * 64 + b'"'] * 1001) + b'], "seconds": 30}',
    ],
)
def test_nonsense_is_refused(talk: Talk, body: bytes) -> None:
    problem(talk.http.post("/v1/leases", content=body), 400, "malformed")
