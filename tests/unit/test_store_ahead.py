"""Reading ahead: in order, a few at a time, and no further than somebody takes."""

from __future__ import annotations

import threading
from contextlib import closing

import pytest
from inductory_store.operations.ahead import AHEAD_MAX, read_ahead

PATIENCE_S = 60.0


def test_what_is_read_comes_in_order() -> None:
    assert list(read_ahead(lambda number: number * 2, range(100))) == [number * 2 for number in range(100)]
    assert list(read_ahead(str, [])) == []


def test_several_are_under_way_at_once() -> None:
    """Each call waits for as many others as there may be."""
    barrier = threading.Barrier(AHEAD_MAX, timeout=PATIENCE_S)

    def meet(number: int) -> int:
        barrier.wait()
        return number

    assert list(read_ahead(meet, range(2 * AHEAD_MAX))) == list(range(2 * AHEAD_MAX))


def test_no_more_is_read_than_may_wait() -> None:
    asked: list[int] = []
    with closing(read_ahead(asked.append, range(1000))) as reading:
        next(reading)
    assert len(asked) <= AHEAD_MAX


def test_a_fault_is_raised_where_it_belongs() -> None:
    def read(number: int) -> int:
        if number == 3:
            raise OSError("this one")
        return number

    reading = read_ahead(read, range(10))
    assert [next(reading) for _ in range(3)] == [0, 1, 2]
    with pytest.raises(OSError, match="this one"):
        next(reading)
