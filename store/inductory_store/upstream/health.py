"""Whether upstream answers, for those who look at this store."""

from __future__ import annotations

import threading
import time
from concurrent.futures import wait

from inductory_client.contract.errors import InductoryError

from .exchange import Exchange, check_status, read_whole
from .flights import Flights

KEPT_S = 2.0
WAIT_S = 0.5
"""Who asks whether this store is well mustn't wait for another one."""


class UpstreamHealth:
    """What was last seen of upstream. Safe for threads."""

    def __init__(self, exchange: Exchange) -> None:
        self.url = exchange.url
        self._exchange = exchange
        self._flights = Flights("health", 1)
        self._lock = threading.Lock()
        self._seen = "it hasn't answered yet"
        self._until = 0.0

    def state(self) -> str:
        """Return `ok`, or why upstream is of no use; some seconds old at most, if upstream isn't slow."""
        with self._lock:
            if time.monotonic() < self._until:
                return self._seen
        try:
            wait([self._flights.join("health", self._look)], WAIT_S)
        except InductoryError as error:
            return error.message
        with self._lock:
            return self._seen

    def close(self) -> None:
        self._flights.close()

    def _look(self) -> None:
        try:
            with self._exchange.opened("GET", "/healthz", {"Accept-Encoding": "identity"}) as (response, _):
                check_status(response.status, read_whole(response))
            seen = "ok"
        except InductoryError as error:
            seen = error.message
        with self._lock:
            self._seen, self._until = seen, time.monotonic() + KEPT_S
