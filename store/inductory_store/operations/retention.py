"""How long a namespace keeps what nobody uses, and how much."""

from __future__ import annotations

from inductory_client.contract.lifetime import Retention, RetentionKept

from inductory_store.catalog.retention import put_retention, read_retention, used_bytes
from inductory_store.store import Store


def set_retention(store: Store, namespace: str, value: Retention) -> RetentionKept:
    """Give a namespace its rule. Idempotent; nothing goes before the next collection."""
    with store.catalog.write() as connection:
        put_retention(connection, namespace, value)
    return show_retention(store, namespace)


def show_retention(store: Store, namespace: str) -> RetentionKept:
    """Return the rule of a namespace, and how much it names."""
    with store.catalog.read() as connection:
        rule, size = read_retention(connection, namespace), used_bytes(connection, namespace)
    return RetentionKept(namespace=namespace, retention=rule, used_bytes=size)
