"""Telemetry: what happened here, told to the store in batches and never in anybody's way."""

from __future__ import annotations

from .background import Background
from .contract.errors import InductoryError
from .contract.wire import BATCH_MAX, Event, Events
from .deadline import Deadline
from .transport import HttpStore
from .trouble import log

QUEUE_MAX = 5_000
BATCH_EVENTS = 500
PAUSE_S = 5.0
CALL_S = 5.0
EXIT_S = 1.0

assert BATCH_EVENTS <= BATCH_MAX


class Telemetry:
    """Events are counts for people to look at: a batch that can't be sent is forgotten, and counted."""

    def __init__(self, store: HttpStore | None) -> None:
        self._store = store
        self.lost = 0
        """Events that couldn't be sent."""
        self._background: Background[Event] = Background(
            "telemetry",
            self._send,
            items_max=QUEUE_MAX,
            batch_max=BATCH_EVENTS,
            pause_s=PAUSE_S,
            exit_s=EXIT_S,
        )

    @property
    def dropped(self) -> int:
        """Events that found the queue full."""
        return self._background.dropped

    def record(self, event: Event) -> None:
        """Queue an event. Never waits and never raises; without a store, nothing is kept."""
        if self._store is not None:
            self._background.add(event)

    def drain(self, seconds: float) -> bool:
        """Send what is queued, within `seconds`; whether nothing is left."""
        return self._background.drain(seconds)

    def close(self, seconds: float = EXIT_S) -> bool:
        return self._background.close(seconds)

    def _send(self, events: list[Event]) -> None:
        assert self._store is not None
        try:
            self._store.post_events(Events(events=tuple(events)), Deadline(CALL_S))
        except InductoryError as error:
            self.lost += len(events)
            log.debug("%d events are lost: %s", len(events), error)
