"""Uses are remembered once in six hours, within bounds, and again where they couldn't be noted."""

from __future__ import annotations

import pytest
from inductory_store import uses as module
from inductory_store.catalog.lifetimes import USE_EVERY_S
from inductory_store.uses import Use, Uses

ONE = Use("artifact", "default", "one")


class Clock:
    now = 1000.0

    def __call__(self) -> float:
        return self.now


@pytest.fixture
def clock() -> Clock:
    return Clock()


@pytest.fixture
def uses(clock: Clock) -> Uses:
    return Uses(clock)


def test_a_use_is_taken_once_in_six_hours(uses: Uses, clock: Clock) -> None:
    for _ in range(3):
        uses.add("artifact", "default", ["one"])
    assert uses.take() == {ONE}
    clock.now += USE_EVERY_S - 1
    uses.add("artifact", "default", ["one", "two"])
    assert uses.take() == {Use("artifact", "default", "two")}
    clock.now += 1
    uses.add("artifact", "default", ["one", "two"])
    assert uses.take() == {ONE}


def test_kinds_and_namespaces_are_apart(uses: Uses) -> None:
    uses.add("artifact", "default", ["one"])
    uses.add("artifact", "other", ["one"])
    uses.add("build", "default", ["one"])
    assert len(uses.take()) == 3


def test_what_was_forgotten_is_taken_when_it_is_used_again(uses: Uses) -> None:
    uses.add("artifact", "default", ["one"])
    uses.forget(uses.take())
    assert uses.take() == set()
    uses.add("artifact", "default", ["one"])
    assert uses.take() == {ONE}


def test_no_more_wait_than_may(uses: Uses, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "WAITING_MAX", 2)
    uses.add("artifact", "default", ["one", "two", "three"])
    assert len(uses.take()) == 2
    uses.add("artifact", "default", ["one", "two", "three"])
    assert uses.take() == {Use("artifact", "default", "three")}, "it was left for another time"


def test_no_more_is_remembered_than_may(uses: Uses, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "REMEMBERED_MAX", 2)
    uses.add("artifact", "default", ["one", "two", "three"])
    uses.take()
    uses.add("artifact", "default", ["two", "three", "one"])
    assert uses.take() == {ONE}, "the oldest was forgotten"
