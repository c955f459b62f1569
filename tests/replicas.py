"""Stores that share a PostgreSQL database, made to meet at the worst moment."""

from __future__ import annotations

import time
from collections.abc import Callable
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import TypeVar

import psycopg
from inductory_client.contract.blob import pack
from inductory_client.contract.digest import digest_of
from inductory_store.blobs.memory import MemoryBlobs
from inductory_store.catalog.catalog import Catalog
from inductory_store.operations.put_blob import put_blob
from inductory_store.settings import StoreSettings
from inductory_store.store import Store
from sqlalchemy import event

NOW = 1_800_000_000.0
WAIT_SECONDS_MAX = 60

R = TypeVar("R")
S = TypeVar("S")


def wait_until(condition: Callable[[], object]) -> None:
    """Return once `condition` holds; fail where a minute passes."""
    until = time.monotonic() + WAIT_SECONDS_MAX
    while not condition():
        assert time.monotonic() < until, "what was waited for never came"


@dataclass(frozen=True)
class Replicas:
    """Two stores in this process, each with connections of its own."""

    url: str
    first: Store
    second: Store

    @classmethod
    def on(cls, url: str) -> Replicas:
        blobs, settings = MemoryBlobs(), StoreSettings(data_dir=Path("/nowhere"), database_url=url)
        return cls(url, *(Store(settings, Catalog(url), blobs, clock=lambda: NOW) for _ in range(2)))

    def put_blob(self, data: bytes) -> None:
        put_blob(self.first, digest_of(data), len(data), [pack(data)], packed=True)

    def meet(self, one: Callable[[Store], R], other: Callable[[Store], S]) -> tuple[R, S]:
        """Return what comes of `one` at the first store, and of `other` at the second.

        `other` begins once `one` has done all but its commit, which follows when `other` waits for a row of
        `one`'s, or has ended without.
        """
        began: list[Future[S]] = []
        with ThreadPoolExecutor(1) as pool:

            def before_commit(_: object) -> None:
                began.append(pool.submit(other, self.second))
                wait_until(lambda: began[0].done() or self.waiting())

            event.listen(self.first.catalog.engine, "commit", before_commit, once=True)
            return one(self.first), began[0].result()

    def waiting(self) -> int:
        """Return how many sessions of the database wait for a lock."""
        with psycopg.connect(self.url) as connection:
            query = (
                "SELECT count(*) FROM pg_stat_activity "
                "WHERE datname = current_database() AND wait_event_type = 'Lock'"
            )
            row = connection.execute(query).fetchone()
        assert row is not None
        return int(row[0])

    def close(self) -> None:
        for store in (self.first, self.second):
            store.catalog.close()
