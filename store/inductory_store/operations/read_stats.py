"""Saying how much there is."""

from __future__ import annotations

from inductory_client.contract.wire import Stats

from inductory_store.catalog.totals import stats
from inductory_store.store import Store


def read_stats(store: Store, namespace: str) -> Stats:
    """Return how much a namespace has, and how much rests in all."""
    with store.catalog.read() as connection:
        return stats(connection, namespace)
