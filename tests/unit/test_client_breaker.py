from __future__ import annotations

import pytest
from client_samples import FakeClock
from hypothesis import given
from hypothesis import strategies as st
from inductory_client.breaker import CircuitBreaker
from inductory_client.contract.errors import (
    BreakerOpen,
    Corrupt,
    DeadlineExceeded,
    DigestMismatch,
    InductoryError,
    NotFound,
    SizeMismatch,
    StorageFull,
    StoreUnavailable,
)


def fail(breaker: CircuitBreaker, error: Exception | None = None) -> None:
    error = error or StoreUnavailable()
    with pytest.raises(type(error)), breaker.call():
        raise error


def succeed(breaker: CircuitBreaker) -> None:
    with breaker.call():
        pass


def opened(clock: FakeClock) -> CircuitBreaker:
    breaker = CircuitBreaker(3, 15.0, clock)
    for _ in range(3):
        fail(breaker)
    assert breaker.state == "open"
    return breaker


def test_it_opens_after_failures_in_a_row_only() -> None:
    breaker = CircuitBreaker(3, 15.0, FakeClock())
    for _ in range(3):
        fail(breaker)
        fail(breaker, DeadlineExceeded())
        succeed(breaker)
    assert breaker.state == "closed"


def test_an_answer_is_no_failure() -> None:
    breaker = CircuitBreaker(1, 15.0, FakeClock())
    fail(breaker, NotFound())
    fail(breaker, StorageFull())
    with pytest.raises(KeyboardInterrupt), breaker.call():
        raise KeyboardInterrupt
    assert breaker.state == "closed"


def test_open_asks_nobody_until_it_is_time() -> None:
    clock = FakeClock()
    breaker = opened(clock)
    clock.pass_by(14.9)
    with pytest.raises(BreakerOpen), breaker.call():
        pytest.fail("the store was asked")


def test_it_closes_again() -> None:
    clock = FakeClock()
    breaker = opened(clock)
    clock.pass_by(15)
    assert breaker.state == "half-open"
    with breaker.call(), pytest.raises(BreakerOpen), breaker.call():
        pytest.fail("one call tries, not two")
    assert breaker.state == "closed"
    fail(breaker)
    fail(breaker)
    assert breaker.state == "closed"


def test_a_failed_try_opens_it_at_once() -> None:
    clock = FakeClock()
    breaker = opened(clock)
    clock.pass_by(15)
    fail(breaker)
    assert breaker.state == "open"
    clock.pass_by(15)
    succeed(breaker)
    assert breaker.state == "closed"


def test_an_interrupted_try_leaves_room_for_the_next() -> None:
    clock = FakeClock()
    breaker = opened(clock)
    clock.pass_by(15)
    with pytest.raises(KeyboardInterrupt), breaker.call():
        raise KeyboardInterrupt
    succeed(breaker)
    assert breaker.state == "closed"


@given(st.lists(st.one_of(st.booleans(), st.integers(0, 30).map(float)), max_size=60))
def test_it_never_stays_open_for_ever(steps: list[bool | float]) -> None:
    """Whatever happened, once `reset_s` has passed one good call closes it; and it lets calls through if
    closed.
    """
    clock = FakeClock()
    breaker = CircuitBreaker(3, 15.0, clock)
    in_a_row = 0
    for step in steps:
        if not isinstance(step, bool):
            clock.pass_by(step)
            continue
        try:
            with breaker.call():
                if not step:
                    raise StoreUnavailable
            in_a_row = 0
        except StoreUnavailable:
            in_a_row += 1
        except BreakerOpen:
            assert in_a_row >= 3
            assert breaker.state != "closed"
    clock.pass_by(15)
    succeed(breaker)
    assert breaker.state == "closed"


@pytest.mark.parametrize("error", [Corrupt, DigestMismatch, SizeMismatch])
def test_damaged_bytes_say_nothing_about_the_store(error: type[InductoryError]) -> None:
    breaker = CircuitBreaker(failures_max=2, reset_s=15.0, clock=FakeClock())
    for raised in (StoreUnavailable, error, StoreUnavailable):
        with pytest.raises(raised), breaker.call():
            raise raised
    assert breaker.state == "open", "the damage in between wasn't an answer"


def test_it_can_be_opened_by_who_knows_better() -> None:
    clock = FakeClock()
    breaker = CircuitBreaker(3, 15.0, clock)
    breaker.open()
    assert breaker.state == "open"
    with pytest.raises(BreakerOpen), breaker.call():
        pytest.fail("the store is left alone")
    clock.pass_by(15.0)
    assert breaker.state == "half-open"
