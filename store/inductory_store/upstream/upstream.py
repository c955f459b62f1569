"""Upstream, as the routes of a pull-through store use it."""

from __future__ import annotations

import asyncio
import logging
import threading
import time
from collections.abc import Callable, Hashable
from concurrent.futures import Future
from functools import partial
from typing import TypeVar

import anyio
from anyio import to_thread
from inductory_client.contract.errors import (
    InductoryError,
    NotFound,
    UpstreamLoop,
    UpstreamUnavailable,
    UpstreamWrong,
)
from sqlalchemy import Connection

from inductory_store.catalog.blobs import ready_blobs
from inductory_store.catalog.builds import read_build
from inductory_store.catalog.manifests import manifests
from inductory_store.store import Store

from .absent import Absent
from .exchange import Exchange
from .flights import Flights
from .pulling import Pulling
from .waiting import AwaitedUpstream

BUILD_FRESH_S = 10.0
"""A build grows upstream; one that is here is looked up there again after so long."""
REFRESH_WAIT_S = 2.0
"""Longest that a start waits for the newer entries of a build that is here."""
_FRESH_MAX = 10_000
BLOB_THREADS = 16
QUESTION_THREADS = 8

_log = logging.getLogger(__name__)

T = TypeVar("T")
_Build = tuple[str, str]


class Upstream:
    """Has what is asked for pulled before it is answered. Methods return when it is here, or can't be.

    That upstream is away or doesn't have it is no error: the catalog's own answer tells. Raises UpstreamWrong
    and UpstreamLoop, where that is why it isn't here. All wait at most `wait_s`; what takes longer goes on.
    """

    def __init__(self, store: Store, exchange: Exchange, wait_s: float) -> None:
        self._store = store
        self._wait_s = wait_s
        self.exchange = exchange
        self.absent = Absent()
        self._blobs = Flights("blobs", BLOB_THREADS)
        self._questions = Flights("upstream", QUESTION_THREADS)
        self._pulling = Pulling(store, exchange, self.absent, self._blobs)
        self.waiting = AwaitedUpstream(exchange, self.absent)
        self._lock = threading.Lock()
        self._fresh: dict[_Build, float] = {}

    def close(self) -> None:
        """Hang up, and fetch nothing more."""
        self.exchange.close()
        self._questions.close()
        self._blobs.close()

    def changed(self) -> None:
        """Note that something was published upstream: it has what it lacked, and builds have grown."""
        self.absent.forget()
        with self._lock:
            self._fresh.clear()

    async def blob(self, digest: str) -> None:
        if not await self._has(lambda connection: bool(ready_blobs(connection, [digest]))):
            await self._pull(("blob", digest), lambda: self._pulling.blob(digest))

    async def artifact(self, namespace: str, key: str) -> None:
        await self._artifacts(namespace, [key])

    async def artifacts(self, namespace: str, keys: list[str]) -> None:
        """Have many pulled; one that upstream has wrong is a miss."""
        try:
            await self._artifacts(namespace, keys)
        except (UpstreamWrong, UpstreamLoop) as error:
            _log.error("%s", error)

    async def manifest(self, namespace: str, manifest_id: str) -> None:
        if not await self._has(
            lambda connection: manifest_id in manifests(connection, namespace, [manifest_id])
        ):
            pull = partial(self._pulling.manifest, namespace, manifest_id)
            await self._pull(("manifest", namespace, manifest_id), pull)

    async def build(self, namespace: str, key: str) -> None:
        """Have a build pulled, and one that is here brought up to date every BUILD_FRESH_S."""
        build = (namespace, key)
        here = await self._has(lambda connection: read_build(connection, namespace, key) is not None)
        with self._lock:
            if here and time.monotonic() < self._fresh.get(build, 0.0):
                return
        changes = self.absent.changes
        wait_s = min(REFRESH_WAIT_S, self._wait_s) if here else self._wait_s
        try:
            await self._pull(("build", *build), lambda: self._pulling.build(namespace, key), wait_s)
        except (UpstreamWrong, UpstreamLoop):
            if not here:
                raise
        finally:
            # Whatever came of it: a start doesn't ask again at once.
            with self._lock:
                if len(self._fresh) >= _FRESH_MAX:
                    self._fresh.clear()
                if changes == self.absent.changes:
                    self._fresh[build] = time.monotonic() + BUILD_FRESH_S

    async def _artifacts(self, namespace: str, keys: list[str]) -> None:
        lacking = await to_thread.run_sync(self._pulling.lacking, namespace, keys)
        if lacking:
            pull = partial(self._pulling.artifacts, namespace, lacking)
            await self._pull(("artifacts", namespace, *sorted(lacking)), pull)

    async def _has(self, look: Callable[[Connection], bool]) -> bool:
        def looked() -> bool:
            with self._store.catalog.read() as connection:
                return look(connection)

        return await to_thread.run_sync(looked)

    async def _pull(
        self, name: tuple[str, ...], pull: Callable[[], None], wait_s: float | None = None
    ) -> None:
        """Pull once for all who want the same now, those who asked before something was published aside."""
        if self.absent.knows(name):
            return
        changes = self.absent.changes

        def pulled() -> None:
            try:
                pull()
            except NotFound:
                self.absent.note([name], changes)
            except (UpstreamWrong, UpstreamLoop) as error:
                _log.error("%s", error)
                raise
            except UpstreamUnavailable as error:
                _log.warning("%s isn't pulled: %s", name[0], error)
            except InductoryError as error:
                _log.error("%s can't be kept: %s", name[0], error)

        question: Hashable = (changes, *name)
        try:
            flight: Future[None] = self._questions.join(question, pulled)
        except UpstreamUnavailable as error:
            _log.warning("%s isn't pulled: %s", name[0], error)
            return
        with anyio.move_on_after(self._wait_s if wait_s is None else wait_s):
            await asyncio.shield(asyncio.wrap_future(flight))
