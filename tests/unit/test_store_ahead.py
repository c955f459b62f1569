"""Reading ahead: in order, a few at a time, and no further than somebody takes."""

from __future__ import annotations

import threading
from contextlib import closing

import pytest
from inductory_store.operations.ahead import AHEAD_MAX, THREADS_MAX, read_ahead

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


def test_readings_share_their_threads() -> None:
    seen: set[threading.Thread] = set()
    for _ in range(2 * THREADS_MAX):
        list(read_ahead(lambda _: seen.add(threading.current_thread()), range(AHEAD_MAX)))
    assert len(seen) <= THREADS_MAX


def test_who_stops_early_waits_for_the_calls_under_way() -> None:
    under_way, go_on = threading.Event(), threading.Event()
    done: list[int] = []

    def read(number: int) -> int:
        if number:
            under_way.set()
            assert go_on.wait(PATIENCE_S)
            done.append(number)
        return number

    reading = read_ahead(read, range(2))
    assert next(reading) == 0
    assert under_way.wait(PATIENCE_S)
    threading.Timer(0.05, go_on.set).start()
    reading.close()
    assert done == [1]
