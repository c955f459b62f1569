"""Rolling events up."""

from __future__ import annotations

from inductory_client.contract.wire import Event
from inductory_store.operations.record_events import rolled_up

KEY, OTHER = "ab" * 32, "cd" * 32


def test_events_of_a_minute_and_kind_are_one_sum() -> None:
    events = [
        Event(kind="hit", at=60.0, count=2, seconds=0.5),
        Event(kind="hit", at=119.9, count=3, seconds=1.0),
        Event(kind="hit", at=120.0),
        Event(kind="miss", at=61.0),
    ]
    sums = {(each.minute, each.kind): (each.count, each.seconds) for each in rolled_up("ns", events, {}, 100)}
    assert sums == {(1, "hit"): (5, 1.5), (2, "hit"): (1, 0.0), (1, "miss"): (1, 0.0)}


def test_a_load_saves_what_its_artifact_took_to_compile() -> None:
    events = [
        Event(kind="load", at=0, count=4, artifact=KEY),
        Event(kind="load", at=1, count=9, artifact=OTHER),
        Event(kind="load", at=2),
        Event(kind="hit", at=3, artifact=KEY),
    ]
    saved = {each.kind: each.saved_seconds for each in rolled_up("ns", events, {KEY: 2.5}, 100)}
    assert saved == {"load": 10.0, "hit": 0.0}


def test_the_future_counts_as_now() -> None:
    assert [each.minute for each in rolled_up("ns", [Event(kind="hit", at=1e9)], {}, 5)] == [5]
