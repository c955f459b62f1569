"""Waiting for what others compile, where leases are upstream's: one question for all who wait."""

from __future__ import annotations

from functools import partial
from urllib.parse import urlencode

from anyio import CapacityLimiter
from inductory_client.contract.errors import UpstreamWrong
from inductory_client.contract.lease import KeysAwaited, Standing

from .absent import Absent
from .exchange import Exchange
from .questions import Questions
from .said import keys_of
from .waiters import Waiters
from .way import passed

LOOKS_MAX = 8
"""Questions at a time about how keys stand now; more take turns."""
WATCHES_MAX = 16
"""Questions at a time that wait there until a key isn't held any more; more take turns."""
TURN_S = 2.0
"""How long one question waits there at most; what is still waited for then is asked again."""


class AwaitedUpstream:
    """Those who wait, in the event loop of one process; nothing of it is for other threads.

    What upstream is asked depends on which keys are waited for, and not on how many wait for them.
    """

    def __init__(self, exchange: Exchange, absent: Absent) -> None:
        self._exchange = exchange
        self._absent = absent
        self._looks = CapacityLimiter(LOOKS_MAX)
        self._watches = CapacityLimiter(WATCHES_MAX)
        self._turn_s = min(TURN_S, exchange.timeout_s / 2)  # well within what upstream may take to answer
        self._waiters: dict[tuple[str, tuple[str, ...]], Waiters] = {}
        self._closed = False

    async def standing(self, namespace: str, asked: KeysAwaited) -> Standing:
        """Return how keys stand upstream, as soon as one of them isn't held any more, or after `wait_s`.

        Raises what came of a question with one of them in it, where that is an error.
        """
        # Who came another way waits apart: a question for both would hide a circle.
        name = (namespace, passed.get())
        self._waiters = {each: waiters for each, waiters in self._waiters.items() if waiters.busy}
        waiters = self._waiters.get(name)
        if waiters is None:
            look = partial(Questions, self._looks, partial(self._ask, namespace, 0.0))
            watch = partial(Questions, self._watches, partial(self._ask, namespace, self._turn_s))
            waiters = self._waiters[name] = Waiters(look, watch)
        return await waiters.standing(asked.keys, 0.0 if self._closed else asked.wait_s)

    def close(self) -> None:
        """Let everybody go who waits, and nobody wait any more: the process is to end."""
        self._closed = True
        for waiters in self._waiters.values():
            waiters.close()

    def _ask(self, namespace: str, wait_s: float, keys: frozenset[str]) -> Standing:
        path = f"/v1/leases:wait?{urlencode({'namespace': namespace})}"
        question = KeysAwaited(keys=tuple(sorted(keys)), wait_s=wait_s)
        found = self._exchange.ask("POST", path, Standing, question)
        if found.published:
            self._absent.forget()
        if not keys <= keys_of(found):
            raise UpstreamWrong("upstream doesn't say of all keys how they stand")
        return found
