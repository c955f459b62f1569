from __future__ import annotations

import pytest
from client_samples import FakeClock
from hypothesis import given
from hypothesis import strategies as st
from inductory_client.contract.errors import DeadlineExceeded
from inductory_client.deadline import Deadline, StoreBudget


def test_a_deadline_passes() -> None:
    clock = FakeClock()
    deadline = Deadline(2.0, clock)
    clock.pass_by(1.5)
    assert deadline.remaining() == 0.5
    clock.pass_by(0.5)
    with pytest.raises(DeadlineExceeded):
        deadline.remaining()


def test_waits_add_up_over_calls() -> None:
    clock = FakeClock()
    budget = StoreBudget(2.0, clock)
    for _ in range(2):
        with budget.waiting() as deadline:
            clock.pass_by(0.75)
            assert deadline.remaining() > 0
        clock.pass_by(5)  # compiling, which isn't waiting
    assert budget.remaining() == 0.5
    with budget.waiting() as deadline:
        clock.pass_by(0.5)
        with pytest.raises(DeadlineExceeded):
            deadline.remaining()
    with pytest.raises(DeadlineExceeded, match="spent"), budget.waiting():
        pytest.fail("nothing is waited for any more")


def test_hours_later_is_another_start() -> None:
    clock = FakeClock()
    budget = StoreBudget(2.0, clock, gap_s=60)
    with budget.waiting():
        clock.pass_by(5)
    clock.pass_by(59)
    assert budget.remaining() == 0
    clock.pass_by(1)
    assert budget.remaining() == 2.0
    with budget.waiting():
        clock.pass_by(1)
    assert budget.remaining() == 1.0


def test_a_long_wait_is_no_gap() -> None:
    clock = FakeClock()
    budget = StoreBudget(2.0, clock, gap_s=60)
    with budget.waiting():
        clock.pass_by(1)
        with budget.waiting():
            clock.pass_by(100)
            assert budget.remaining() == 0
    assert budget.remaining() == 0


def test_what_is_lost_without_a_wait_counts_too() -> None:
    clock = FakeClock()
    budget = StoreBudget(2.0, clock)
    budget.spend(0.5)
    clock.pass_by(5)
    assert budget.remaining() == 1.5
    with budget.waiting():
        clock.pass_by(0.5)
        budget.spend(0.25)
        clock.pass_by(0.5)
    assert budget.remaining() == 0.25


def test_waits_that_overlap_count_once() -> None:
    clock = FakeClock()
    budget = StoreBudget(2.0, clock)
    with budget.waiting():
        clock.pass_by(0.5)
        with budget.waiting():
            clock.pass_by(0.5)
            assert budget.remaining() == 1.0
        clock.pass_by(0.25)
    assert budget.remaining() == 0.75


@given(st.lists(st.tuples(st.floats(0, 3), st.floats(0, 25)), max_size=20))
def test_no_start_waits_longer_than_its_budget(waits: list[tuple[float, float]]) -> None:
    """Each wait ends at its deadline; whatever comes between, a start's waits stay within its budget."""
    clock = FakeClock()
    budget = StoreBudget(2.0, clock, gap_s=600)
    waited = 0.0
    for wait_s, pause_s in waits:
        try:
            with budget.waiting() as deadline:
                seconds = min(wait_s, deadline.remaining())
                clock.pass_by(seconds)
                waited += seconds
        except DeadlineExceeded:
            assert budget.remaining() < 0.01
        clock.pass_by(pause_s)
    assert waited <= 2.0 + 1e-6


def test_what_we_take_ourselves_is_no_time_for_the_store_and_needs_no_rest_of_it() -> None:
    clock = FakeClock()
    budget = StoreBudget(2.0, clock)
    with budget.drawing():
        clock.pass_by(0.25)
        with budget.waiting(0.5) as deadline:
            assert deadline.remaining() == pytest.approx(0.875)
            clock.pass_by(0.5)
        clock.pass_by(0.25)
    assert budget.remaining() == 1.0
    with budget.drawing():
        clock.pass_by(1.5)
    with budget.drawing():
        assert budget.remaining() == 0
