"""Whose turn it is to compile a model that nobody has published: one process's, and others may wait.

    missed --lease taken--------> compiled here, published, and the lease ends
           --somebody else's----> waited for (`on_miss` is `wait`), then fetched; or compiled here, too

Ranks of one engine run their first steps together. Of two engines that each had the turn of some ranks, each
would wait for the other: so an engine has the turn of all its ranks or of none (see `_AllRanks`).
"""

from __future__ import annotations

import multiprocessing
import time
from collections.abc import Callable, Collection
from typing import Any

from inductory_client.client import Client
from inductory_client.contract.digest import digest_of
from inductory_client.contract.wire import Event
from inductory_client.deadline import WAIT_S_MIN, Deadline
from inductory_client.graph.turns import Turns
from inductory_client.leasing import Leases, Turn

from .counts import Counts
from .places import ready_s

LOOK_AGAIN_S, LOOK_AGAIN_S_MAX = 5.0, 60.0
"""How soon a rank that waits asks whether its own engine has the turn by now, as another rank has asked; then
twice as late each time.
"""


def takes_turns(vllm_config: Any) -> bool:
    """Whether all that runs in step with this process is known, and on this machine."""
    parallel = _parallel(vllm_config)
    if parallel.data_parallel_size > 1 or parallel.pipeline_parallel_size > 1:
        return False  # stages of a pipeline may differ in vLLM's hash, too
    return bool(parallel.world_size == 1 or engine_of(vllm_config))


def engine_of(vllm_config: Any) -> str:
    """Return the name that the processes of this engine share on this machine; none where there is but one,
    where they are on several machines, or weren't started by one process.
    """
    parallel, parent = _parallel(vllm_config), multiprocessing.parent_process()
    here = parallel.distributed_executor_backend == "mp" and getattr(parallel, "nnodes", 1) == 1
    if parallel.world_size == 1 or not here or parent is None:
        return ""
    # Process numbers come again, on this machine and in its containers; multiprocessing's key, which children
    # inherit, doesn't. (vLLM's `instance_id` differs by rank where ranks derive their configurations.)
    inherited = bytes(multiprocessing.current_process().authkey)
    return digest_of(b"%d %b" % (parent.pid or 0, inherited))[:16]


def ranks_of(vllm_config: Any) -> range:
    """Return the ranks of this engine."""
    return range(_parallel(vllm_config).world_size)


def _parallel(vllm_config: Any) -> Any:
    """Return how the engine is parallel. A draft model's own configuration knows no nodes."""
    target = getattr(getattr(vllm_config, "speculative_config", None), "target_parallel_config", None)
    return target or vllm_config.parallel_config


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

    def take(
        self, key: str, bring: Callable[[], bool], *, others: Collection[str] = (), engine: str = ""
    ) -> bool:
        """Return whether somebody else's model came, by `bring`. Else it is to be compiled here: with the
        lease of `key`, or without where somebody else has it and takes longer than there is patience.

        `others` are the keys of the other ranks of `engine`. Raises Unsupported.
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

        leases: Leases | _AllRanks = client.leases
        if others:
            client.leases.share(engine)
            leases = _AllRanks(client.leases, key, others)
        turns = Turns(
            leases,
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


class _AllRanks:
    """The lease of one rank's key, which a process has only if its engine has those of all its ranks.

    All ranks ask for all keys under the engine's name. The store grants all or nothing: nobody has what
    others wait for while waiting.
    """

    def __init__(self, leases: Leases, key: str, others: Collection[str]) -> None:
        self._leases = leases
        self._key = key
        self._others = others
        self._awaited: Collection[str] = (key,)
        self._look_again_s = LOOK_AGAIN_S

    def take(self, keys: Collection[str]) -> Turn:
        turn = self._leases.take(keys, others=self._others)
        if turn.published or turn.failed:  # what one rank can't compile, the engine can't
            return Turn(published=turn.published, failed=() if turn.published else turn.failed)
        if not turn.held:
            return turn
        self._awaited = turn.held
        return Turn(held=frozenset((self._key,)))

    def end(self, keys: Collection[str], failure: str | None = None) -> None:
        self._leases.end(keys, failure)

    def wait(self, keys: Collection[str], until: float) -> object:
        again = min(until, time.monotonic() + self._look_again_s)
        self._look_again_s = min(2 * self._look_again_s, LOOK_AGAIN_S_MAX)
        found = self._leases.wait(self._awaited, again)
        return found if found is not None or time.monotonic() < again else self._awaited
