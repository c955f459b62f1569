"""Taking turns: a piece that nobody has is compiled by one process of the fleet, and others wait for it."""

from __future__ import annotations

import time
from collections.abc import Callable, Collection, Iterator
from typing import Protocol

from inductory_client.deadline import Clock
from inductory_client.leasing import Turn
from inductory_client.trouble import log, warn_once

from .unsupported import Unsupported

_OF_THE_NODE = (OSError, MemoryError, ImportError, Unsupported)
_OF_THE_NODE_BY_NAME = frozenset({"InvalidCxxCompiler", "OutOfMemoryError"})
_DISK_IS_FULL = "No space left on device"


class Leasing(Protocol):
    """What is needed of `leasing.Leases`."""

    def take(self, keys: Collection[str]) -> Turn: ...

    def end(self, keys: Collection[str], failure: str | None = None) -> None: ...

    def wait(self, keys: Collection[str], until: float) -> object: ...


class Turns:
    """How the missing pieces of one graph come: each is compiled here or brought."""

    def __init__(
        self,
        leases: Leasing,
        *,
        compile_here: Callable[[Collection[str], bool], None],
        bring: Callable[[Collection[str]], Collection[str]],
        patience_s: float,
        what: str = "piece",
        clock: Clock = time.monotonic,
    ) -> None:
        """`compile_here` is told whether others are waited for afterwards: what it made is published before
        that. `bring` gets what was published meanwhile, and returns what it got. Both may raise. `what` it
        is all about stands in warnings.
        """
        self._leases = leases
        self._compile_here = compile_here
        self._bring = bring
        self._patience_s = patience_s
        self._what = what
        self._clock = clock
        self.waited: set[str] = set()
        """Keys that others compiled while this process waited."""
        self._awaited: set[str] = set()
        self.impatient: set[str] = set()
        """Keys that were compiled here though somebody else has their lease."""
        self.waited_s = 0.0

    def take(self, missing: Collection[str]) -> None:
        """Return once every piece is here. Raises Unsupported where a compile failed elsewhere just now, and
        what compiling raises; leases are given up then.
        """
        left = set(missing)
        until = self._clock() + self._patience_s
        brought_in_vain: set[str] = set()
        while left:
            turn = self._leases.take(left - brought_in_vain)
            if turn.failed:
                self._leases.end(turn.mine)
                first = turn.failed[0]
                raise Unsupported(
                    f"compiling it failed elsewhere ({first.reason}); it is tried again in "
                    f"{first.retry_in_s:.0f} s"
                )
            if turn.published:
                brought = set(self._bring(turn.published))
                self.waited |= brought & self._awaited
                brought_in_vain |= turn.published - brought
                left -= brought
            mine, held = turn.mine | (brought_in_vain & left), turn.held
            if held and self._clock() >= until:
                self._tell_impatience(held)
                mine, held = mine | held, frozenset()
            if mine:
                self._compile(mine, turn.mine, others=bool(held))
                left -= mine
            if held and not self._wait(held, until):
                until = self._clock()  # nobody can say how they stand: as if it had taken too long

    def _compile(self, keys: Collection[str], leased: Collection[str], *, others: bool) -> None:
        try:
            self._compile_here(keys, others)
        except Exception as error:
            self._leases.end(
                leased, failure=f"{type(error).__name__}: {error}" if is_of_graph(error) else None
            )
            raise
        except BaseException:  # an interrupt says nothing about the graph
            self._leases.end(leased)
            raise

    def _wait(self, held: Collection[str], until: float) -> bool:
        """Wait, and say whether it may go on. How the keys stand then, the next question says."""
        warn_once("turns:wait", "waiting for %s that another process compiles, for %.0f s at most",
                  self._counted(held), max(0.0, until - self._clock()))  # fmt: skip
        began = self._clock()
        self._awaited |= set(held)
        standing = self._leases.wait(held, until)
        self.waited_s += self._clock() - began
        return standing is not None

    def _tell_impatience(self, held: Collection[str]) -> None:
        self.impatient |= set(held)
        if self._patience_s:
            warn_once("turns:impatient", "compiling %s here, too: whoever else does has taken longer than"
                      " %.0f s", self._counted(held), self._patience_s)  # fmt: skip
        else:
            log.info("another process compiles %s, too", self._counted(held))

    def _counted(self, keys: Collection[str]) -> str:
        return f"{len(keys)} {self._what}{'s' if len(keys) != 1 else ''}"


def is_of_graph(error: BaseException) -> bool:
    """Whether a compile would fail elsewhere, too: not for want of memory, disk or compiler here."""
    return not any(
        isinstance(each, _OF_THE_NODE)
        or type(each).__name__ in _OF_THE_NODE_BY_NAME
        or _DISK_IS_FULL in str(each)
        for each in _chain(error)
    )


def _chain(error: BaseException | None) -> Iterator[BaseException]:
    """Yield an error and what led to it, torch's inner exceptions included."""
    seen: set[int] = set()
    queue = [error]
    while queue:
        each = queue.pop()
        if each is None or id(each) in seen:
            continue
        seen.add(id(each))
        yield each
        queue += [each.__cause__, each.__context__, getattr(each, "inner_exception", None)]
