"""Who asks at the same time is asked for together: each gets its own, and nobody waits for one that hangs."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import contextmanager
from pathlib import Path

import pytest
from inductory_client.contract.blob import pack
from inductory_client.contract.digest import digest_of
from inductory_client.contract.errors import StorageFailed, TooLarge
from inductory_store.blobs.memory import MemoryBlobs
from inductory_store.catalog.catalog import Catalog
from inductory_store.catalog.hits import HITS_AT_ONCE, KEYS_TOGETHER_MAX, Hits
from inductory_store.catalog.migrate import upgrade
from inductory_store.operations.publish_artifact import publish_artifact
from inductory_store.operations.put_blob import put_blob
from inductory_store.settings import StoreSettings
from inductory_store.store import Store
from replicas import wait_until
from sqlalchemy import Connection, event
from sqlalchemy.exc import OperationalError
from store_messages import artifact, descriptor
from store_process import Database

NAMES = 8
BYTES_MAX = 1 << 20


@pytest.fixture
def catalog(tmp_path: Path, database: Database) -> Iterator[Catalog]:
    settings = StoreSettings.load(database, data_dir=tmp_path)
    catalog = Catalog(settings.catalog_url)
    upgrade(catalog.engine)
    yield catalog
    catalog.close()


@pytest.fixture
def keys(catalog: Catalog, tmp_path: Path) -> list[str]:
    """Of artifacts that are published in one namespace, and the last of them in another one, too."""
    store = Store(StoreSettings.load({}, data_dir=tmp_path), catalog, MemoryBlobs())
    values = [artifact([descriptor(b"piece %d" % at)], f"graph {at}") for at in range(NAMES)]
    for at, value in enumerate(values):
        data = b"piece %d" % at
        put_blob(store, digest_of(data), len(data), [pack(data)], packed=True)
        publish_artifact(store, "default", value.key, value)
    publish_artifact(store, "other", values[-1].key, values[-1])
    return [value.key for value in values]


class Statements:
    """What is asked of the catalog; the first is held until it may go on."""

    def __init__(self) -> None:
        self.count = 0
        self.fails = False
        self.go_on = threading.Event()
        self.is_held = threading.Event()

    def __call__(self, _: Connection, __: object, statement: str, *___: object) -> None:
        if not statement.startswith("SELECT"):
            return
        self.count += 1
        if self.count == 1:
            self.is_held.set()
            assert self.go_on.wait(30)
        if self.fails:
            raise OperationalError(statement, {}, Exception("it is away"))


@contextmanager
def held(catalog: Catalog, *, patience_s: float, monkeypatch: pytest.MonkeyPatch) -> Iterator[Statements]:
    """Hold the first statement, and let the others wait for it so long."""
    monkeypatch.setattr("inductory_store.catalog.hits.PATIENCE_S", patience_s)
    statements = Statements()
    event.listen(catalog.engine, "before_cursor_execute", statements)
    try:
        yield statements
    finally:
        statements.go_on.set()
        event.remove(catalog.engine, "before_cursor_execute", statements)


Asked = Callable[..., Future[set[str]]]


@contextmanager
def asking(hits: Hits) -> Iterator[Asked]:
    """Ask in threads, for the keys that are found."""
    with ThreadPoolExecutor(40) as threads:

        def ask(keys: list[str], namespace: str = "default", bytes_max: int = BYTES_MAX) -> Future[set[str]]:
            return threads.submit(lambda: set(hits.of(namespace, keys, bytes_max=bytes_max)[0]))

        yield ask


def waiting(hits: Hits) -> int:
    return len(hits._waiting)


def test_a_hit_comes_with_the_rows_of_what_it_loads(catalog: Catalog, keys: list[str]) -> None:
    records, rows = Hits(catalog).of("default", [keys[0], "0" * 64], bytes_max=BYTES_MAX)
    assert list(records) == [keys[0]]
    assert {digest: row.size for digest, row in rows.items()} == {digest_of(b"piece 0"): 7}


def test_those_who_wait_are_asked_for_in_one_statement(
    catalog: Catalog, keys: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    hits = Hits(catalog)
    with held(catalog, patience_s=30, monkeypatch=monkeypatch) as statements, asking(hits) as ask:
        first = ask(keys[:1])
        assert statements.is_held.wait(30)
        others = [ask([key, "0" * 64]) for key in keys]
        elsewhere, short = ask(keys, "other"), ask(keys[:2], bytes_max=10)
        wait_until(lambda: waiting(hits) == len(keys) + 2)
        statements.go_on.set()
        assert first.result() == {keys[0]}
        assert [each.result() for each in others] == [{key} for key in keys]
        assert elsewhere.result() == {keys[-1]}
        with pytest.raises(TooLarge):
            short.result()
    # The first, all others of its namespace, and the one of another namespace.
    assert statements.count == 3


def test_one_that_hangs_keeps_nobody_else_waiting(
    catalog: Catalog, keys: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    with held(catalog, patience_s=0.01, monkeypatch=monkeypatch) as statements, asking(Hits(catalog)) as ask:
        first = ask(keys[:1])
        assert statements.is_held.wait(30)
        assert [ask([key]).result(30) for key in keys] == [{key} for key in keys]
        assert not first.done()
        statements.go_on.set()
        assert first.result() == {keys[0]}


def test_a_statement_that_fails_fails_for_all_in_it_and_for_nobody_after(
    catalog: Catalog, keys: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    hits = Hits(catalog)
    with held(catalog, patience_s=30, monkeypatch=monkeypatch) as statements, asking(hits) as ask:
        failing = [ask(keys[:1])]
        assert statements.is_held.wait(30)
        failing += [ask([key]) for key in keys]
        wait_until(lambda: waiting(hits) == len(keys))
        statements.fails = True
        statements.go_on.set()
        for each in failing:
            with pytest.raises(StorageFailed):
                each.result()
        assert statements.count == 2
        statements.fails = False
        assert ask(keys).result() == set(keys)


def test_a_statement_takes_so_many_keys_and_leaves_the_others_to_the_next(
    catalog: Catalog, keys: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    hits = Hits(catalog)
    unknown = [digest_of(b"%d" % at) for at in range(HITS_AT_ONCE - 1)]
    questions = 2 * KEYS_TOGETHER_MAX // HITS_AT_ONCE
    with held(catalog, patience_s=30, monkeypatch=monkeypatch) as statements, asking(hits) as ask:
        first = ask(keys[:1])
        assert statements.is_held.wait(30)
        others = [ask([keys[at % NAMES], *unknown]) for at in range(questions)]
        wait_until(lambda: waiting(hits) == questions)
        statements.go_on.set()
        assert [each.result() for each in (first, *others)] == [
            {keys[at % NAMES]} for at in (0, *range(questions))
        ]
    assert statements.count == 3
