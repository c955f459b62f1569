"""Leases, as this process has them: asked for before a compile, renewed meanwhile, ended after.

None of it can fail a start: without a store, or with one in trouble, everybody compiles for themselves.
"""

from __future__ import annotations

import os
import secrets
import socket
import threading
import time
from collections.abc import Collection, Iterable

from msgspec import Struct

from .contract.errors import InductoryError
from .contract.lease import (
    LEASES_MAX,
    REASON_CHARS_MAX,
    WAIT_S_MAX,
    FailedKey,
    Heartbeat,
    KeysAwaited,
    Lease,
    LeaseEnd,
    LeasesEnded,
    LeasesWanted,
    Standing,
)
from .deadline import Clock, Deadline, StoreBudget
from .fork import ForkLock, begin_anew_in_children
from .transport import HttpStore
from .trouble import log, warn_once

CALL_S = 10.0
"""What a call may take that nobody waits for."""
UNREACHABLE_S_MAX = 10.0
"""Who waits for others gives up once the store has been away for so long: a restart is shorter."""
_PAUSE_S = 0.5


class Turn(Struct, frozen=True, kw_only=True):
    """Who compiles what. Each key that was asked about is in one of these."""

    mine: frozenset[str] = frozenset()
    """To be compiled here: under a lease, or because there are no leases to be had."""
    held: frozenset[str] = frozenset()
    published: frozenset[str] = frozenset()
    failed: tuple[FailedKey, ...] = ()


class Leases:
    """The leases of one process. Safe for threads; a forked child has none."""

    def __init__(
        self,
        store: HttpStore | None,
        budget: StoreBudget,
        seconds: float,
        *,
        publishes: bool = True,
        clock: Clock = time.monotonic,
    ) -> None:
        """`seconds` is how long a lease lasts that isn't renewed; a process that doesn't publish takes
        none.
        """
        self._store = store
        self._budget = budget
        self._seconds = seconds
        self._publishes = publishes
        self._clock = clock
        self._lock = ForkLock()
        begin_anew_in_children(self)
        self.after_fork()

    def after_fork(self) -> None:
        self._holder = ""
        self._tokens: dict[str, str] = {}
        self._unanswered: set[str] = set()
        """Asked for, and the answer never came: the store may have granted them."""
        self._ended = threading.Event()
        self._thread: threading.Thread | None = None

    def take(self, keys: Collection[str]) -> Turn:
        """Take the leases of `keys`, as far as they are free. Never raises; without a store all is ours."""
        if self._store is None or not keys:
            return Turn(mine=frozenset(keys))
        try:
            with self._budget.waiting() as deadline:
                return self._take(self._store, sorted(keys), deadline)
        except InductoryError as error:
            # Asking for artifacts has told of a store in trouble; an older one knows no leases.
            log.info("who compiles what isn't known, and all is compiled here: %s", error)
            if error.retryable and self._publishes:
                with self._lock:
                    self._unanswered |= set(keys) - self._tokens.keys()
            return Turn(mine=frozenset(keys))

    @property
    def any(self) -> bool:
        """Whether this process has any lease, or may have one."""
        return bool(self._tokens or self._unanswered)

    def token_of(self, key: str) -> str | None:
        """Return the token under which a key is published, None where this process has no lease of it.

        Where a question for leases wasn't answered in time, it is asked again now, once: the store may have
        granted what this process doesn't know of, and would refuse it then.
        """
        with self._lock:
            unanswered = sorted(self._unanswered) if key in self._unanswered else []
            self._unanswered -= set(unanswered)
        if unanswered and self._store is not None:
            try:
                self._take(self._store, unanswered, Deadline(CALL_S))
            except InductoryError as error:
                log.debug("who compiles what still isn't known: %s", error)
        with self._lock:
            return self._tokens.get(key)

    def end(self, keys: Iterable[str], failure: str | None = None) -> None:
        """Give up the leases of `keys`, if there are any: they are published, or won't be.

        The store ended those whose key was published, and is told of the others; `failure` says why their
        compile failed. Never raises.
        """
        with self._lock:
            ended = set(keys)
            self._unanswered -= ended
            tokens = {key: self._tokens.pop(key) for key in ended if key in self._tokens}
        if not tokens or self._store is None:
            return
        reason = None if failure is None else (failure.strip() or "unknown")[:REASON_CHARS_MAX]
        ends = tuple(LeaseEnd(key=key, token=tokens[key], failure=reason) for key in sorted(tokens))
        try:
            self._store.release_leases(LeasesEnded(leases=ends), Deadline(CALL_S))
        except InductoryError as error:
            log.debug("leases run out by themselves, and aren't given back: %s", error)

    def wait(self, keys: Collection[str], until: float) -> Standing | None:
        """Wait until one of `keys` isn't held by others any more, or of the first LEASES_MAX; None past
        `until`, by this process's clock, and where the store stays away. Never raises.
        """
        if self._store is None:
            return None
        first = tuple(sorted(keys)[:LEASES_MAX])
        away_since: float | None = None
        while (left := until - self._clock()) > 0:
            asked = KeysAwaited(keys=first, wait_s=min(left, WAIT_S_MAX))
            try:
                found = self._store.await_keys(asked, Deadline(asked.wait_s + CALL_S))
            except InductoryError as error:
                away_since = self._clock() if away_since is None else away_since
                if not error.retryable or self._clock() - away_since > UNREACHABLE_S_MAX:
                    warn_once(f"wait:{error.code}", "who compiles what isn't known any more: %s", error)
                    return None
                self._ended.wait(min(_PAUSE_S, left))
                continue
            away_since = None
            if len(found.held) < len(first):
                return found
        return None

    def close(self) -> None:
        """Give all leases back. Idempotent."""
        self._ended.set()
        with self._lock:
            keys = list(self._tokens)
        self.end(keys)

    def _take(self, store: HttpStore, keys: list[str], deadline: Deadline) -> Turn:
        held: set[str] = set()
        published: set[str] = set()
        failed: list[FailedKey] = []
        for start in range(0, len(keys), LEASES_MAX):
            batch = tuple(keys[start : start + LEASES_MAX])
            if self._publishes:
                leased = store.take_leases(self._wanted(batch), deadline)
                with self._lock:
                    self._tokens |= {each.key: each.token for each in leased.granted}
                published |= set(leased.published)
                held |= {each.key for each in leased.held}
                failed += leased.failed
            else:
                found = store.await_keys(KeysAwaited(keys=batch, wait_s=0), deadline)
                published |= set(found.published)
                held |= {each.key for each in found.held}
                failed += found.failed
        mine = set(keys) - held - published - {each.key for each in failed}
        self._keep_alive()
        return Turn(
            mine=frozenset(mine),
            held=frozenset(held & set(keys)),
            published=frozenset(published & set(keys)),
            failed=tuple(failed),
        )

    def _wanted(self, keys: tuple[str, ...]) -> LeasesWanted:
        with self._lock:
            if not self._holder:
                host = "".join(c if c.isascii() and c.isalnum() else "-" for c in socket.gethostname()[:60])
                self._holder = f"{host or 'node'}:{os.getpid()}:{secrets.token_hex(8)}"
            return LeasesWanted(holder=self._holder, keys=keys, seconds=self._seconds)

    def _keep_alive(self) -> None:
        """Have a thread renew what is held, until nothing is."""
        with self._lock:
            if not self._tokens or self._thread is not None:
                return
            self._thread = threading.Thread(target=self._renew_on, name="inductory-leases", daemon=True)
            try:
                self._thread.start()
            except RuntimeError:  # the interpreter is on its way out
                self._thread = None

    def _renew_on(self) -> None:
        while not self._ended.wait(self._seconds / 3):
            with self._lock:
                tokens = dict(self._tokens)
                if not tokens:
                    self._thread = None
                    return
            try:
                self._renew(tokens)
            except InductoryError as error:
                log.debug("leases aren't renewed: %s", error)

    def _renew(self, tokens: dict[str, str]) -> None:
        """What passed to somebody else stays noted: the store refuses what is published under it."""
        assert self._store is not None
        leases = [Lease(key=key, token=token) for key, token in sorted(tokens.items())]
        for start in range(0, len(leases), LEASES_MAX):
            batch = tuple(leases[start : start + LEASES_MAX])
            self._store.renew_leases(Heartbeat(leases=batch, seconds=self._seconds), Deadline(CALL_S))
