"""Publications that another process is in the way of: published after all, should it die or give up."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Collection

from msgspec import Struct
from msgspec.structs import replace

from .contract.lease import LEASE_S_MAX
from .deadline import Clock
from .fork import ForkLock, begin_anew_in_children
from .leasing import Leases
from .publication import Draft, Publication
from .trouble import log

BYTES_MAX = 256 << 20
"""Of all that waits; what finds no room is given up. The local CAS has it, and `inductory push` sends it."""
PATIENCE_S = LEASE_S_MAX
"""How long anything waits: whoever died before it was added can't have had a lease for longer."""
WAIT_S = 15.0
"""Longest wait before what was added meanwhile is waited for, too."""


class _Held(Struct, frozen=True):
    drafts: dict[str, Draft]
    """What wasn't kept, by key."""
    publication: Publication
    """With these drafts alone."""
    bytes_held: int
    until: float

    def without(self, published: Collection[str]) -> Publication | None:
        """Return what is still to be sent; None where that is nothing."""
        left = tuple(draft for key, draft in self.drafts.items() if key not in published)
        if not left and self.publication.manifest is None and self.publication.build is None:
            return None
        return replace(self.publication, artifacts=left)


class HeldPublications:
    """Waits, on a daemon thread, until others don't hold what was refused for their leases any more.

    Nothing waits for it: neither other publications nor the end of the process.
    """

    def __init__(
        self, leases: Leases, again: Callable[[Publication], object], clock: Clock = time.monotonic
    ) -> None:
        """`again` is called, on that thread, with what is worth another attempt; it mustn't raise."""
        self._leases = leases
        self._again = again
        self._clock = clock
        self._lock = ForkLock()
        begin_anew_in_children(self)
        self.after_fork()

    def after_fork(self) -> None:
        self._held: list[_Held] = []
        self._closed = False
        self._thread: threading.Thread | None = None

    def add(self, publication: Publication, left: Collection[str]) -> None:
        """Keep what of a publication wasn't kept: the artifacts of the keys `left`, and its names."""
        drafts = {key: draft for draft in publication.artifacts if (key := draft.subject.key) in left}
        rest = replace(publication, artifacts=tuple(drafts.values()))
        held = _Held(drafts, rest, rest.bytes_held, self._clock() + PATIENCE_S)
        with self._lock:
            if self._closed:
                return
            if sum(each.bytes_held for each in self._held) + held.bytes_held > BYTES_MAX:
                log.info("too much waits for other processes, and something is left to them")
                return
            self._held.append(held)
            if self._thread is not None:
                return
            self._thread = threading.Thread(target=self._wait_on, name="inductory-held", daemon=True)
            try:
                self._thread.start()
            except RuntimeError:  # the interpreter is on its way out
                self._thread = None

    def close(self) -> None:
        """Give up what waits. The thread ends once the leases are closed, too."""
        with self._lock:
            self._closed = True
            self._held.clear()

    def _wait_on(self) -> None:
        while True:
            with self._lock:
                now = self._clock()
                self._held = [each for each in self._held if each.until > now]
                if not self._held:
                    self._thread = None
                    return
                keys = {key for each in self._held for key in each.drafts}
                until = min(now + WAIT_S, *(each.until for each in self._held))
            standing = self._leases.wait(keys, until)
            if standing is None:
                if self._clock() < until:  # the store stays away, or all is closed
                    with self._lock:
                        self._held.clear()
                continue
            settled = {*standing.free, *standing.published, *(each.key for each in standing.failed)}
            with self._lock:
                ready = [each for each in self._held if not settled.isdisjoint(each.drafts)]
                self._held = [each for each in self._held if settled.isdisjoint(each.drafts)]
            for each in ready:
                rest = each.without(standing.published)
                if rest is not None:
                    self._again(rest)
