from __future__ import annotations

import pytest
from client_samples import FakeClock
from inductory_client.breaker import CircuitBreaker
from inductory_client.contract.errors import StoreUnavailable
from inductory_client.contract.wire import Event, Events, EventsStored, decode, encode
from inductory_client.telemetry import BATCH_EVENTS, QUEUE_MAX, Telemetry
from inductory_client.transport import HttpStore
from misbehaving import Misbehaving, always, answer, refused

LONG_S = 60.0
EVENT = Event(kind="load", at=1.0)


def test_without_a_store_nothing_is_kept() -> None:
    telemetry = Telemetry(None)
    telemetry.record(EVENT)
    assert telemetry.drain(LONG_S)
    assert (telemetry.dropped, telemetry.lost) == (0, 0)
    telemetry.close()


def test_events_go_in_batches() -> None:
    with Misbehaving(always(answer(encode(EventsStored(stored=1))))) as server:
        telemetry = Telemetry(HttpStore(server.url))
        for _ in range(BATCH_EVENTS + 1):
            telemetry.record(EVENT)
        assert telemetry.drain(LONG_S)
        telemetry.close()
        sent = [len(decode(request.partition(b"\r\n\r\n")[2], Events).events) for request in server.asked]
    assert sum(sent) == BATCH_EVENTS + 1
    assert max(sent) <= BATCH_EVENTS
    assert len(sent) <= 3


def test_what_the_store_does_not_take_is_lost_and_counted() -> None:
    with refused() as url:
        telemetry = Telemetry(HttpStore(url))
        telemetry.record(EVENT)
        assert telemetry.drain(LONG_S)
        assert telemetry.lost == 1
        telemetry.close()


def test_a_store_that_is_left_alone_is_left_alone_by_events_too() -> None:
    breaker = CircuitBreaker(1, 15.0, FakeClock())
    with pytest.raises(StoreUnavailable), breaker.call():
        raise StoreUnavailable
    with Misbehaving(always(answer(encode(EventsStored(stored=1))))) as server:
        telemetry = Telemetry(HttpStore(server.url, breaker=breaker))
        telemetry.record(EVENT)
        assert telemetry.drain(LONG_S)
        telemetry.close()
        assert (telemetry.lost, server.asked) == (1, [])


def test_more_than_the_queue_holds_is_dropped() -> None:
    with Misbehaving(lambda sock, server: server.over.wait() and None) as server:
        telemetry = Telemetry(HttpStore(server.url))
        for _ in range(QUEUE_MAX + BATCH_EVENTS + 1):
            telemetry.record(EVENT)
        assert telemetry.dropped > 0
        telemetry.close(0.0)
