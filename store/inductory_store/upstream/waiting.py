"""Waiting for what others compile, where leases are upstream's."""

from __future__ import annotations

import time
from functools import partial
from urllib.parse import urlencode

import anyio
from anyio import CapacityLimiter, to_thread
from inductory_client.contract.lease import KeysAwaited, Standing

from .absent import Absent
from .exchange import Exchange

ASKING_MAX = 64
"""Questions to upstream at a time; more take turns."""
TURN_S = 2.0
"""How long one question waits there at most; who waits longer asks again."""


class AwaitedUpstream:
    """Those who wait, in the event loop of one process."""

    def __init__(self, exchange: Exchange, absent: Absent) -> None:
        self._exchange = exchange
        self._absent = absent
        self._asking = CapacityLimiter(ASKING_MAX)
        self._turn_s = min(TURN_S, exchange.timeout_s / 2)  # well within what upstream may take to answer
        self._closed = False

    async def standing(self, namespace: str, asked: KeysAwaited) -> Standing:
        """Return how keys stand upstream, as soon as one of them isn't held any more, or after `wait_s`."""
        until = time.monotonic() + asked.wait_s
        while True:
            left = 0.0 if self._closed else max(0.0, until - time.monotonic())
            question = KeysAwaited(keys=asked.keys, wait_s=min(left, self._turn_s))
            found = await to_thread.run_sync(partial(self._ask, namespace, question), limiter=self._asking)
            if found.published:
                self._absent.forget()
            all_held = {each.key for each in found.held} == set(asked.keys)
            if not all_held or not asked.keys or time.monotonic() >= until or self._closed:
                return found
            await anyio.lowlevel.checkpoint()

    def close(self) -> None:
        """Let everybody go who waits: the process is to end."""
        self._closed = True

    def _ask(self, namespace: str, question: KeysAwaited) -> Standing:
        path = f"/v1/leases:wait?{urlencode({'namespace': namespace})}"
        return self._exchange.ask("POST", path, Standing, question)
