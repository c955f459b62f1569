"""Flights: what many want at the same time is fetched once, and all of them have what comes of it."""

from __future__ import annotations

import threading
from collections.abc import Callable, Hashable
from concurrent.futures import Future, ThreadPoolExecutor
from contextvars import copy_context

from inductory_client.contract.errors import UpstreamUnavailable

FLIGHTS_MAX = 20_000
"""Most that are going on or wait for their turn."""


class Flights:
    """Work by question, on threads of its own. Safe for threads."""

    def __init__(self, name: str, threads: int) -> None:
        self._pool = ThreadPoolExecutor(threads, thread_name_prefix=f"inductory-{name}")
        self._lock = threading.Lock()
        self._flights: dict[Hashable, Future[None]] = {}
        self._closed = False

    def join(self, question: Hashable, work: Callable[[], None]) -> Future[None]:
        """Return the flight of a question, one that is going on or a new one that does `work`.

        What was here before a flight began may be here no more and the other way round: `work` looks itself.
        Raises UpstreamUnavailable where there are too many.
        """
        with self._lock:
            found = self._flights.get(question)
            if found is not None:
                return found
            if self._closed or len(self._flights) >= FLIGHTS_MAX:
                raise UpstreamUnavailable("too much is being fetched from upstream")
            flight: Future[None] = self._pool.submit(copy_context().run, work)
            self._flights[question] = flight
        # Outside the lock: a flight that has ended calls at once.
        flight.add_done_callback(lambda _: self._landed(question, flight))
        return flight

    def close(self) -> None:
        """Begin nothing more. What is going on ends with its exchange."""
        with self._lock:
            self._closed = True
        self._pool.shutdown(wait=False, cancel_futures=True)

    def _landed(self, question: Hashable, flight: Future[None]) -> None:
        with self._lock:
            if self._flights.get(question) is flight:
                del self._flights[question]
