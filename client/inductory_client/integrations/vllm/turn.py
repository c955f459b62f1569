"""Whose turn it is to compile a model that nobody has published: one process's, and others may wait.

    missed --lease taken--------> compiled here, published, and the lease ends
           --somebody else's----> waited for (`on_miss` is `wait`), then fetched; or compiled here, too

A model that runs on several GPUs takes no turns: its ranks run their first steps together, and of two nodes
that each had the turn of some ranks, each would wait for the other.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Collection
from typing import Any

from inductory_client.client import Client
from inductory_client.contract.wire import Event
from inductory_client.deadline import WAIT_S_MIN, Deadline
from inductory_client.graph.turns import Turns

from .counts import Counts
from .places import ready_s


def takes_turns(vllm_config: Any) -> bool:
    """Whether this model is on one GPU alone."""
    parallel = vllm_config.parallel_config
    return bool(parallel.world_size == 1 and parallel.data_parallel_size == 1)


class ModelTurns:
    """The turns of one process."""

    def __init__(self, client: Client, counts: Counts, patience_s: float) -> None:
        self._client = client
        self._counts = counts
        self._patience_s = patience_s
        self._until: float | None = None
        """The end of all waits of this start: for each of its models there may be one."""
        self._taken: set[str] = set()
        """Keys that are compiled here, and not published yet."""
        self._ended = False

    def take(self, key: str, bring: Callable[[], bool]) -> bool:
        """Return whether somebody else's model came, by `bring`. Else it is to be compiled here: with the
        lease of `key`, or without where somebody else has it and takes longer than there is patience.

        Raises Unsupported.
        """
        if self._ended:
            return False
        client, came = self._client, False
        began, counted_s = time.monotonic(), self._counts.waited_s
        if self._until is None:
            self._until = began + min(self._patience_s, ready_s() / 2)

        def brought(keys: Collection[str]) -> Collection[str]:
            nonlocal came
            came = bring()
            return keys if came else ()

        turns = Turns(
            client.leases,
            compile_here=lambda keys, others: None,  # the engine does, afterwards
            bring=brought,
            what="model",
            patience_s=max(0.0, self._until - began),
        )
        turns.take([key])
        self._counts.awaited_s += turns.waited_s
        # The rest was spent on questions; what `bring` took is counted there.
        counted_s = self._counts.waited_s - counted_s
        self._counts.waited("turn", time.monotonic() - began - turns.waited_s - counted_s)
        record = client.telemetry.record
        for each in turns.waited:
            record(Event(kind="waited", at=time.time(), artifact=each))
        for each in turns.impatient:
            record(Event(kind="impatient", at=time.time(), artifact=each))
        if not came:
            self._taken.add(key)
        return came

    def handed_over(self, key: str) -> None:
        """Leave the lease of `key` to whoever publishes it."""
        self._taken.discard(key)

    def end(self) -> None:
        """Give up what was compiled and isn't published: this process lives on, and would renew leases. What
        comes later is no start any more, and takes no turns: somebody waits for an answer.
        """
        self._ended = True
        if not self._taken:
            return
        with self._counts.ours("turn", "the turn to compile a model isn't given up"):
            # The start waits for this. Where the store can't be told in time, the lease runs out by itself.
            deadline = Deadline(max(WAIT_S_MIN, self._client.budget.remaining()))
            self._client.leases.end(self._taken, deadline=deadline)
            self._taken.clear()
