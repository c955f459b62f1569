"""The client: where its parts are put together, and what the rest of the world calls."""

from __future__ import annotations

import time
from collections.abc import Sequence
from typing import Self

from .breaker import CircuitBreaker
from .cas import LocalCas
from .contract.build import Build
from .contract.errors import BadSettings, NotFound
from .contract.target import Target
from .contract.wire import ArtifactWanted, Event, EventKind
from .deadline import Deadline, StoreBudget
from .fetch import Fetched, fetch
from .fork import ForkLock
from .leasing import Leases
from .misses import Describe, Misses, missed_of
from .prefetching import Prefetch
from .publish import PublicationReport, Publisher
from .pull import PullReport, pull
from .settings import LAST_BUILD, Settings
from .telemetry import Telemetry
from .transport import HttpStore
from .trouble import log, warn_once
from .trust import Keyring, SigningKey, load_signing_key


class Client:
    """Cheap to make: no file is read, no thread started and no connection opened before it is needed.

    Safe for threads. Its background work ends with the process, within `settings.drain_s`.
    """

    def __init__(self, settings: Settings) -> None:
        self.settings = settings
        self.breaker = CircuitBreaker()
        self.budget = StoreBudget(settings.store_deadline_s)
        self.cas = LocalCas(settings.cache_dir, settings.cache_bytes_max)
        self.store: HttpStore | None = None
        if settings.url is not None:
            self.store = HttpStore(settings.url, settings.namespace, self.breaker)
        self.telemetry = Telemetry(self.store)
        self.misses = Misses(self.cas)
        self.leases = Leases(self.store, self.budget, settings.lease_s, publishes=settings.publish)
        self.publisher = Publisher(
            self.cas,
            self.store if settings.publish else None,
            self.signing_key,
            self.keyring,
            settings.drain_s,
            self.leases,
            self._record_published,
        )
        self._lock = ForkLock()
        self._keyring: Keyring | None = None
        self._keys_made = 0
        self._prefetches: dict[str, Prefetch] = {}
        self.bytes_fetched = 0
        """Packed bytes that travelled for `fetch` so far."""
        self.closed = False

    def keyring(self) -> Keyring:
        """The keys trusted here, read once. A key file that can't be used is warned about and left out."""
        with self._lock:
            if self._keyring is not None:
                return self._keyring
            keys_made = self._keys_made
        # Nobody waits for a lock while files are read. Two that come at once both read them.
        keyring = Keyring.load(self.settings)
        with self._lock:
            if keys_made == self._keys_made:
                self._keyring = keyring
        return keyring

    def signing_key(self) -> SigningKey:
        """This machine's signing key, made where there is none. It is trusted from then on. Raises
        BadSettings.
        """
        key = load_signing_key(self.settings)
        with self._lock:
            self._keyring = None
            self._keys_made += 1
        return key

    def fetch(
        self,
        wanted: Sequence[ArtifactWanted],
        target: Target,
        *,
        describe: Describe | None = None,
        model: str = "",
        share: float = 1.0,
    ) -> Fetched:
        """Return the pieces that this node or the store has, verified. Never raises; see `Fetched`.

        What is waited for the store is drawn from the start's budget, of which a small question may take a
        `share` alone. Hits, misses and refusals are recorded.
        What wasn't got is also noted here, with what `describe` says of its key and under the settings'
        model, or else `model`, for `inductory explain`.
        """
        self.prefetch()
        prefetches = list(self._prefetches.values())
        fetched = fetch(
            wanted,
            target,
            cas=self.cas,
            keyring=self.keyring,
            store=self.store,
            budget=self.budget,
            arriving=lambda: any([each.wait(self.budget) for each in prefetches]),
            share=share,
        )
        self._record_fetched(fetched)
        if any(each.key not in fetched.pieces for each in wanted):
            self._note_missed(wanted, target, fetched, describe, model)
        return fetched

    def prefetch(self, settings: Settings | None = None) -> None:
        """Begin to pull the build that `settings` name, this client's own unless told; once for each build.

        Runs in a thread of its own: call it as early as possible. Never raises and never waits.
        """
        key = self.build_of(settings or self.settings)
        if key is None or self.store is None:
            return
        with self._lock:
            prefetch = self._prefetches.setdefault(key, Prefetch(lambda: self._pull_for_start(key)))
        prefetch.start()

    def wait_for_prefetch(self, key: str, seconds: float) -> None:
        """Wait for the end of a build's prefetch, beside the start: nothing of its budget is used."""
        with self._lock:
            prefetch = self._prefetches.get(key)
        if prefetch is not None:
            prefetch.join(seconds)

    def build_of(self, settings: Settings) -> str | None:
        """Return the key of the build that `settings` name, None where they name none.

        LAST_BUILD is whichever was last published or pulled here under the same label, if any was.
        """
        if settings.disabled:
            return None
        if settings.build == LAST_BUILD:
            return self.cas.last_build(settings.namespace, settings.model, settings.component)
        return settings.build

    def pull_build(self, key: str, deadline: Deadline | None = None) -> PullReport:
        """Bring all that a build's start loads into the local CAS, in one stream.

        Not part of the start's budget: run it beside the start. Raises what the store raises, and BadSettings
        where there is no store.
        """
        return pull(key, store=self.reach_store(), cas=self.cas, keyring=self.keyring(), deadline=deadline)

    def bring_build(self, key: str) -> tuple[Build | None, int]:
        """Return a build once what its start loads lies here, as far as that can be had within the start's
        budget, and the bytes that travelled for it now; None where nobody has it. Never raises.
        """
        with self._lock:
            prefetch = self._prefetches.get(key)
        if prefetch is not None:
            prefetch.wait(self.budget)
        here = self.cas.build(key)
        if here is not None or self.store is None:
            return here, 0
        try:
            with self.budget.waiting() as deadline:
                report = self.pull_build(key, deadline)
            return report.build, report.bytes_moved
        except NotFound:
            return None, 0
        except Exception as error:
            warn_once("bring", "a build isn't pulled: %s", error)
            return None, 0

    def blob(self, digest: str, size: int, deadline: Deadline | None = None) -> bytes:
        """Return a blob from this node or the store, checked, and leave it here. Raises what the store
        raises.
        """
        data = self.cas.get(digest)
        if data is None or len(data) != size:
            data = self.reach_store().get_blob(digest, size, deadline)
            self.cas.put(digest, data)
        return data

    def reach_store(self) -> HttpStore:
        """The store, for those who can't do without. Raises BadSettings where none is set."""
        if self.store is None:
            raise BadSettings("no store is set; set INDUCTORY_URL")
        return self.store

    def close(self) -> None:
        """Finish the background work, within `settings.drain_s`, and close the connections. Idempotent."""
        self.closed = True
        with self._lock:
            prefetches = list(self._prefetches.values())
        for prefetch in prefetches:
            prefetch.abandon()
        self.publisher.close(self.settings.drain_s)
        self.leases.close()
        self.telemetry.close()
        if self.store is not None:
            self.store.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def _pull_for_start(self, key: str) -> None:
        here = self.cas.build(key)
        # A build grows: what was pulled last week may lack what others have published since.
        if here is None or here.entries != self.reach_store().get_build(key).entries:
            self.pull_build(key)

    def _record_fetched(self, fetched: Fetched) -> None:
        with self._lock:
            self.bytes_fetched += fetched.bytes_moved
        for key in fetched.pieces:
            self._record("hit", key, seconds=fetched.seconds / len(fetched.pieces))
        for miss in fetched.misses:
            self._record("miss", miss.key)
        for key, error in fetched.refused.items():
            self._record("refused", key, reason=error.code)

    def _note_missed(
        self,
        wanted: Sequence[ArtifactWanted],
        target: Target,
        fetched: Fetched,
        describe: Describe | None,
        model: str,
    ) -> None:
        try:
            missed = missed_of(
                wanted,
                fetched,
                describe,
                at=time.time(),
                namespace=self.settings.namespace,
                model=self.settings.model or model,
                store=self.store is not None,
            )
            self.misses.note(target, tuple(missed))
        except Exception:  # a note is for people to read; the fetch is what was asked for
            log.debug("misses aren't noted", exc_info=True)

    def _record_published(self, report: PublicationReport) -> None:
        count = report.created + report.reproduced + report.different
        if count:
            self.telemetry.record(Event(kind="publish", at=time.time(), count=count))

    def _record(self, kind: EventKind, key: str, seconds: float = 0.0, reason: str = "") -> None:
        self.telemetry.record(Event(kind=kind, at=time.time(), seconds=seconds, artifact=key, reason=reason))
