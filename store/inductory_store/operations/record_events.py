"""Rolling up what clients report."""

from __future__ import annotations

from inductory_client.contract.wire import Event, Events, EventsStored

from inductory_store.catalog.events import Minute, add_minutes, compile_seconds, forget_before
from inductory_store.store import Store

_DAY_MINUTES = 24 * 60


def record_events(store: Store, namespace: str, sent: Events) -> EventsStored:
    """Add events to the sums of their minutes. Not idempotent: a batch is sent once, or lost.

    An event from the future counts as now; one from before what is kept is left out.
    """
    now = int(store.clock() // 60)
    oldest = now - store.settings.event_days * _DAY_MINUTES
    kept = [event for event in sent.events if event.at // 60 >= oldest]
    with store.catalog.write() as connection:
        loaded = {event.artifact for event in kept if event.kind == "load" and event.artifact is not None}
        known = compile_seconds(connection, namespace, loaded) if loaded else {}
        add_minutes(connection, rolled_up(namespace, kept, known, now))
        forget_before(connection, oldest)
    return EventsStored(stored=len(kept))


def rolled_up(
    namespace: str, events: list[Event], compile_seconds: dict[str, float], now: int
) -> list[Minute]:
    """Return sums by minute and kind; a load saves what its artifact took to compile, if that is known."""
    sums: dict[tuple[int, str], Minute] = {}
    for event in events:
        minute = min(int(event.at // 60), now)
        spared = compile_seconds.get(event.artifact or "", 0.0) if event.kind == "load" else 0.0
        before = sums.get((minute, event.kind), Minute(namespace, minute, event.kind, 0, 0.0, 0.0))
        sums[minute, event.kind] = Minute(
            namespace,
            minute,
            event.kind,
            before.count + event.count,
            before.seconds + event.seconds,
            before.saved_seconds + event.count * spared,
        )
    return list(sums.values())
