"""Leases, as this process has them: asked for before a compile, renewed meanwhile, ended after.

None of it can fail a start: without a store, or with one in trouble, everybody compiles for themselves.
"""

from __future__ import annotations

import os
import secrets
import socket
import threading
import time
from collections.abc import Collection, Iterable, Mapping

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
    Leased,
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
HELD_S_MAX = 3600.0
"""No compile takes longer: what is held still is left over from one that failed where nobody saw it."""
_PAUSE_S = 0.5


class Turn(Struct, frozen=True, kw_only=True):
    """Who compiles what. Each key that was asked about is in one of these."""

    mine: frozenset[str] = frozenset()
    """To be compiled here: under a lease, or because there are no leases to be had."""
    held: frozenset[str] = frozenset()
    published: frozenset[str] = frozenset()
    failed: tuple[FailedKey, ...] = ()


class _GivenUp(Struct, frozen=True, kw_only=True):
    """A key whose lease is given up before it is known whether there is one."""

    failure: str | None
    until: float
    """By this process's clock: from then on a lease has run out by itself."""


class Leases:
    """The leases of one process. Safe for threads; a forked child has none.

    A question whose answer is lost may have been granted. So a key is noted before it is asked for, and the
    thread that renews leases asks again for what is still noted: the store gives the same holder the same
    token.
    """

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
        self._since: dict[str, float] = {}
        """When a lease was asked for, by this process's clock."""
        self._unanswered: set[str] = set()
        """Wanted, and no answer has come: the store may have granted them."""
        self._given_up: dict[str, _GivenUp] = {}
        """No longer wanted, and no answer has come."""
        self._closed = threading.Event()
        self._due = threading.Event()
        """Whether the thread has something to do before it would renew."""
        self._thread: threading.Thread | None = None

    def take(self, keys: Collection[str], *, others: Collection[str] = ()) -> Turn:
        """Take the leases of `keys`, as far as they are free. Never raises; without a store all is ours.

        `others` are what processes of the same name take: with these, all that isn't published is given
        together or not at all, and this process keeps the leases of `keys`. Then `held` and `failed` tell of
        the others, too.
        """
        if self._store is None or not keys:
            return Turn(mine=frozenset(keys))
        if self._publishes:
            with self._lock:
                self._since |= dict.fromkeys(keys, self._clock())
                self._unanswered |= set(keys)
                for key in keys:
                    self._given_up.pop(key, None)
        try:
            with self._budget.waiting() as deadline:
                return self._take(self._store, sorted(keys), sorted(others), deadline)
        except InductoryError as error:
            # Asking for artifacts has told of a store in trouble; an older one knows no leases.
            log.info("who compiles what isn't known, and all is compiled here: %s", error)
            return Turn(mine=frozenset(keys))
        finally:
            self._keep_alive()

    def share(self, name: str) -> None:
        """Be one of this machine's processes of that name, each of which is given what another one has."""
        with self._lock:
            self._holder = f"{_host()}:{name}"

    @property
    def any(self) -> bool:
        """Whether this process has any lease, or may have one."""
        return bool(self._tokens or self._unanswered or self._given_up)

    def token_of(self, key: str) -> str | None:
        """Return the token under which a key is published, None where this process has no lease of it.

        Where it isn't known whether there is one, the store is asked again now: it would refuse what comes
        without the token.
        """
        with self._lock:
            known = key not in self._unanswered and key not in self._given_up
        if not known:
            self._ask_again(Deadline(CALL_S))
        with self._lock:
            return self._tokens.get(key)

    def end(self, keys: Iterable[str], failure: str | None = None, deadline: Deadline | None = None) -> None:
        """Give up the leases of `keys`, if there are any: they are published, or won't be.

        The store ended those whose key was published, and is told of the others by `deadline`, CALL_S from
        now unless given; `failure` says why their compile failed. Nobody waits here for a lease that isn't
        known: the thread finds and ends it. Never raises.
        """
        self._end(keys, failure, deadline or Deadline(CALL_S))
        if self._given_up:
            self._keep_alive()
            self._due.set()

    def wait(self, keys: Collection[str], until: float) -> Standing | None:
        """Wait until one of `keys` isn't held by others any more, or of the first LEASES_MAX; None past
        `until`, by this process's clock, where the store stays away, and once these leases are closed. Never
        raises.
        """
        if self._store is None:
            return None
        first = tuple(sorted(keys)[:LEASES_MAX])
        away_since: float | None = None
        while (left := until - self._clock()) > 0 and not self._closed.is_set():
            asked = KeysAwaited(keys=first, wait_s=min(left, WAIT_S_MAX))
            try:
                found = self._store.await_keys(asked, Deadline(asked.wait_s + CALL_S))
            except InductoryError as error:
                away_since = self._clock() if away_since is None else away_since
                if not error.retryable or self._clock() - away_since > UNREACHABLE_S_MAX:
                    warn_once(f"wait:{error.code}", "who compiles what isn't known any more: %s", error)
                    return None
                self._closed.wait(min(_PAUSE_S, left))
                continue
            away_since = None
            if len(found.held) < len(first):
                return found
        return None

    def close(self) -> None:
        """Give all leases back, also those that aren't known, within CALL_S. Never raises. Idempotent."""
        self._closed.set()
        self._due.set()
        with self._lock:
            keys = self._tokens.keys() | self._unanswered
        deadline = Deadline(CALL_S)
        self._end(keys, None, deadline)
        self._ask_again(deadline)
        with self._lock:
            self._given_up.clear()

    def _take(self, store: HttpStore, keys: list[str], others: list[str], deadline: Deadline) -> Turn:
        held: set[str] = set()
        published: set[str] = set()
        failed: list[FailedKey] = []
        for start in range(0, len(keys), LEASES_MAX):
            batch = (*keys[start : start + LEASES_MAX], *others)
            if self._publishes:
                leased = self._ask(store, batch, deadline, together=bool(others))
                published |= set(leased.published)
                held |= {each.key for each in leased.held}
                failed += leased.failed
            else:
                found = store.await_keys(KeysAwaited(keys=batch, wait_s=0), deadline)
                published |= set(found.published)
                held |= {each.key for each in found.held}
                failed += found.failed
        mine = set(keys) - held - published - {each.key for each in failed}
        if others and (held or failed):
            mine = set()
        return Turn(
            mine=frozenset(mine),
            held=frozenset(held),
            published=frozenset(published & set(keys)),
            failed=tuple(failed),
        )

    def _ask(
        self, store: HttpStore, keys: tuple[str, ...], deadline: Deadline, *, together: bool = False
    ) -> Leased:
        """Ask for leases and keep those that are still wanted. Raises what the store raises; where asking
        again may help, the keys stay noted.
        """
        try:
            leased = store.take_leases(self._wanted(keys, together=together), deadline)
        except InductoryError as error:
            if not error.retryable:
                with self._lock:
                    self._forget(keys)
            raise
        with self._lock:
            self._tokens |= {each.key: each.token for each in leased.granted if each.key in self._unanswered}
            self._unanswered.difference_update(keys)
        return leased

    def _ask_again(self, deadline: Deadline) -> None:
        """Find out about every key that is noted: keep the lease of one that is wanted, end that of one that
        isn't, forget what somebody else has or published. Never raises; may be repeated.
        """
        with self._lock:
            now = self._clock()
            self._given_up = {key: each for key, each in self._given_up.items() if now < each.until}
            keys = sorted(self._unanswered | self._given_up.keys())
        if self._store is None:
            return
        for start in range(0, len(keys), LEASES_MAX):
            batch = tuple(keys[start : start + LEASES_MAX])
            try:
                leased = self._ask(self._store, batch, deadline)
            except InductoryError as error:
                log.debug("who compiles what still isn't known: %s", error)
                return
            with self._lock:
                # What another thread found out and ended meanwhile may have been granted anew: it goes, too.
                wanted = self._tokens.keys() | self._unanswered
                unwanted = {each.key: each.token for each in leased.granted if each.key not in wanted}
                given_up = {key: self._given_up.pop(key) for key in batch if key in self._given_up}
            self._release(unwanted, {key: each.failure for key, each in given_up.items()}, deadline)

    def _end(self, keys: Iterable[str], failure: str | None, deadline: Deadline) -> None:
        """Release what is known, and note as given up what isn't."""
        reason = None if failure is None else (failure.strip() or "unknown")[:REASON_CHARS_MAX]
        given_up = _GivenUp(failure=reason, until=self._clock() + self._seconds)
        ended = set(keys)
        with self._lock:
            tokens = {key: self._tokens.pop(key) for key in ended if key in self._tokens}
            unknown = ended & self._unanswered
            self._unanswered -= unknown
            self._given_up |= dict.fromkeys(unknown, given_up)
        known = {key: token for key, token in tokens.items() if key not in unknown}
        self._release(known, dict.fromkeys(known, reason), deadline)

    def _release(
        self, tokens: Mapping[str, str], failures: Mapping[str, str | None], deadline: Deadline
    ) -> None:
        if not tokens or self._store is None:
            return
        ends = tuple(
            LeaseEnd(key=key, token=token, failure=failures.get(key)) for key, token in sorted(tokens.items())
        )
        try:
            self._store.release_leases(LeasesEnded(leases=ends), deadline)
        except InductoryError as error:
            log.debug("leases run out by themselves, and aren't given back: %s", error)

    def _forget(self, keys: Iterable[str]) -> None:
        for key in keys:
            self._unanswered.discard(key)
            self._given_up.pop(key, None)

    def _wanted(self, keys: tuple[str, ...], *, together: bool) -> LeasesWanted:
        with self._lock:
            if not self._holder:
                self._holder = f"{_host()}:{os.getpid()}:{secrets.token_hex(8)}"
            return LeasesWanted(holder=self._holder, keys=keys, seconds=self._seconds, together=together)

    def _keep_alive(self) -> None:
        """Have a thread renew what is held and ask again for what isn't known, until there is neither."""
        with self._lock:
            if not self.any or self._closed.is_set() or self._thread is not None:
                return
            self._thread = threading.Thread(target=self._renew_on, name="inductory-leases", daemon=True)
            try:
                self._thread.start()
            except RuntimeError:  # the interpreter is on its way out
                self._thread = None

    def _renew_on(self) -> None:
        pause_s = self._seconds / 3
        while True:
            self._due.wait(pause_s)
            self._due.clear()
            with self._lock:
                self._drop_old()
                tokens = dict(self._tokens)
                if not self.any or self._closed.is_set():
                    self._thread = None
                    return
            try:
                self._renew(tokens)
                # Only then, and not for long: what is held mustn't run out meanwhile.
                self._ask_again(Deadline(min(CALL_S, pause_s)))
            except InductoryError as error:
                log.debug("leases aren't renewed: %s", error)

    def _drop_old(self) -> None:
        """Let leases run out that are held for too long."""
        past = self._clock() - HELD_S_MAX
        self._tokens = {key: token for key, token in self._tokens.items() if self._since[key] > past}
        self._unanswered = {key for key in self._unanswered if self._since[key] > past}
        self._since = {key: self._since[key] for key in self._tokens.keys() | self._unanswered}

    def _renew(self, tokens: dict[str, str]) -> None:
        """What passed to somebody else stays noted: the store refuses what is published under it."""
        assert self._store is not None
        leases = [Lease(key=key, token=token) for key, token in sorted(tokens.items())]
        for start in range(0, len(leases), LEASES_MAX):
            batch = tuple(leases[start : start + LEASES_MAX])
            self._store.renew_leases(Heartbeat(leases=batch, seconds=self._seconds), Deadline(CALL_S))


def _host() -> str:
    return "".join(c if c.isascii() and c.isalnum() else "-" for c in socket.gethostname()[:60]) or "node"
