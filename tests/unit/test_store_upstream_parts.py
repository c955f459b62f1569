"""The parts of a pull-through store that decide: whom to leave alone, what to believe, where a circle is."""

from __future__ import annotations

import threading

import pytest
from client_samples import FakeClock
from inductory_client.contract.digest import digest_of
from inductory_client.contract.errors import BadSettings, Malformed, UpstreamLoop, UpstreamUnavailable
from inductory_client.contract.lease import FailedKey, HeldKey, Standing
from inductory_store.settings import StoreSettings
from inductory_store.upstream import absent, breaker
from inductory_store.upstream.absent import Absent
from inductory_store.upstream.breaker import Breaker
from inductory_store.upstream.connection import Deadline
from inductory_store.upstream.flights import Flights
from inductory_store.upstream.said import Said, keys_of
from inductory_store.upstream.way import STORES_MAX, stores_passed

ME, OTHER = "a" * 16, "b" * 16


def failed(tried: Breaker) -> None:
    tried.enter()
    tried.leave("it hung up")


def test_an_upstream_that_fails_is_left_alone_and_then_tried_by_one() -> None:
    clock = FakeClock()
    tried = Breaker(clock)
    for _ in range(breaker.FAILURES_MAX):
        failed(tried)
    with pytest.raises(UpstreamUnavailable, match="it hung up; it isn't asked again"):
        tried.enter()
    clock.pass_by(breaker.RESET_S)
    tried.enter()
    with pytest.raises(UpstreamUnavailable):
        tried.enter()
    tried.leave(None)
    tried.enter()
    assert tried.reason == ""


def test_a_try_that_says_nothing_lets_another_one_try() -> None:
    clock = FakeClock()
    tried = Breaker(clock)
    for _ in range(breaker.FAILURES_MAX):
        failed(tried)
    clock.pass_by(breaker.RESET_S)
    tried.enter()
    tried.leave(None, answered=False)
    failed(tried)
    with pytest.raises(UpstreamUnavailable):
        tried.enter()


def test_an_answer_between_failures_counts_anew() -> None:
    tried = Breaker(FakeClock())
    for _ in range(3 * breaker.FAILURES_MAX):
        failed(tried)
        tried.enter()
        tried.leave(None)


def test_a_miss_is_believed_for_a_moment() -> None:
    clock = FakeClock()
    names = Absent(clock)
    names.note(["one"], names.changes)
    assert names.knows("one")
    assert not names.knows("two")
    clock.pass_by(absent.KEPT_S)
    assert not names.knows("one")


def test_a_miss_from_before_a_publication_is_not_believed() -> None:
    names = Absent(FakeClock())
    names.note(["one"], names.changes)
    asked_at = names.changes
    names.forget()
    assert not names.knows("one")
    names.note(["one"], asked_at)
    assert not names.knows("one")


def test_misses_have_a_bound(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(absent, "NAMES_MAX", 2)
    names = Absent(FakeClock())
    names.note([1, 2, 3], names.changes)
    assert [names.knows(each) for each in (1, 2, 3)] == [False, True, True]


def test_a_deadline_bounds_each_wait_and_all_of_them() -> None:
    clock = FakeClock()
    deadline = Deadline(5, clock)
    clock.pass_by(3)
    assert deadline.wait_s() == 2
    deadline.extend(60)
    assert deadline.wait_s() == 5
    clock.pass_by(62)
    with pytest.raises(UpstreamUnavailable):
        deadline.wait_s()


def test_those_who_want_the_same_have_one_flight_and_its_error() -> None:
    flights = Flights("test", 1)
    go = threading.Event()
    flown: list[str] = []

    def work() -> None:
        go.wait()
        flown.append("once")
        raise UpstreamUnavailable

    joined = [flights.join("one", work) for _ in range(5)]
    go.set()
    for each in joined:
        assert isinstance(each.exception(), UpstreamUnavailable)
    assert flown == ["once"]
    flights.close()
    with pytest.raises(UpstreamUnavailable):
        flights.join("one", work)


def test_what_was_said_of_keys_grows_older() -> None:
    held, free, failed, published, unasked = (digest_of(bytes([at])) for at in range(5))
    found = Standing(
        held=(HeldKey(key=held, expires_in_s=30.0),),
        free=(free, unasked),
        failed=(FailedKey(key=failed, reason="it doesn't fit", retry_in_s=60.0),),
        published=(published,),
    )
    assert keys_of(found) == {held, free, failed, published, unasked}
    said = Said()
    said.note({held, free, failed, published}, found, 100.0)
    assert said.held((held, free, unasked)) == {held}
    assert said.standing((free, held), 110.0) == Standing(
        held=(HeldKey(key=held, expires_in_s=20.0),), free=(free,)
    )
    assert said.standing((failed, published), 110.0) == Standing(failed=found.failed, published=(published,))
    assert said.standing((held,), 200.0).held[0].expires_in_s == 0
    said.note({held}, Standing(published=(held,)), 110.0)
    assert said.standing((held,), 110.0).published == (held,)
    said.forget(held)
    for unknown in (held, unasked):
        with pytest.raises(KeyError):
            said.standing((unknown,), 110.0)


def test_a_way_is_known_and_a_circle_refused() -> None:
    assert stores_passed(None, ME) == ()
    assert stores_passed(OTHER, ME) == (OTHER,)
    with pytest.raises(UpstreamLoop):
        stores_passed(f"{OTHER},{ME}", ME)
    with pytest.raises(UpstreamLoop, match="passed 8 stores"):
        stores_passed(",".join(f"{at:016x}" for at in range(STORES_MAX)), ME)
    for nonsense in ("", "x", f"{OTHER};", OTHER * 2, "a" * 2000):
        with pytest.raises(Malformed):
            stores_passed(nonsense, ME)


@pytest.mark.parametrize(
    "url",
    [
        "ftp://store",
        "store:8765",
        "http://",
        "http://user:word@store",
        "http://store?x=1",
        "http://store:x",
        "http://s:0",
    ],
)
def test_an_address_that_is_none_is_refused_at_once(url: str) -> None:
    with pytest.raises(BadSettings, match="no address of a store"):
        StoreSettings.load({"INDUCTORY_STORE_UPSTREAM_URL": url})


def test_an_address_may_have_a_path() -> None:
    settings = StoreSettings.load({"INDUCTORY_STORE_UPSTREAM_URL": "https://example.org/inductory"})
    assert settings.upstream_url == "https://example.org/inductory"
