"""What is PostgreSQL's own: isolation, bounds, how it is reached, and how a page of the lookup is read."""

from __future__ import annotations

import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import psycopg
import pytest
from inductory_client.contract import wire
from inductory_client.contract.errors import BadSettings, StorageFailed
from inductory_client.contract.target import Target
from inductory_store import serve
from inductory_store.catalog import migrate
from inductory_store.catalog.catalog import Catalog
from inductory_store.catalog.lookup import Filters, Place, look_up
from inductory_store.catalog.migrate import is_current, upgrade
from inductory_store.catalog.tables import target
from inductory_store.settings import StoreSettings
from postgresql_server import PostgresqlServer
from replicas import wait_until
from sqlalchemy import event, func, insert, select, text
from store_messages import TARGET, Talk, artifact, build, descriptor, problem
from store_process import StoreProcess


@pytest.fixture
def url(postgresql: PostgresqlServer) -> Iterator[str]:
    with postgresql.database() as url:
        yield url


@pytest.fixture
def catalog(url: str) -> Iterator[Catalog]:
    with closing(Catalog(url)) as catalog:
        yield catalog


def add_target(catalog: Catalog, fingerprint: str) -> None:
    with catalog.write() as connection:
        connection.execute(insert(target), [{"fingerprint": fingerprint, "created_at": 1.0}])


@pytest.mark.parametrize(("ahead_s", "told"), [(3600.0, 1), (-3600.0, 1), (5.0, 0)])
def test_a_clock_that_is_wrong_is_told_at_the_start(
    url: str, tmp_path: Path, caplog: pytest.LogCaptureFixture, ahead_s: float, told: int
) -> None:
    settings = StoreSettings.load({"INDUCTORY_STORE_DATABASE_URL": url}, data_dir=tmp_path)
    serve.migrate(settings, lambda: time.time() + ahead_s)
    said = [record.getMessage() for record in caplog.records]
    assert sum("s apart: mend the clock" in line for line in said) == told, said


def test_a_read_sees_one_state_of_the_catalog_and_a_write_the_newest(catalog: Catalog) -> None:
    count = select(func.count()).select_from(target)
    with catalog.read() as reader:
        before = reader.scalar(count)
        add_target(catalog, "published meanwhile")
        assert reader.scalar(count) == before == 0
    with catalog.write() as writer:
        assert writer.scalar(count) == 1
        add_target(catalog, "and this")
        assert writer.scalar(count) == 2
    with catalog.read() as reader:
        assert reader.scalar(count) == 2


def test_a_read_cannot_write(catalog: Catalog) -> None:
    with pytest.raises(StorageFailed), catalog.read() as reader:
        reader.execute(insert(target), [{"fingerprint": "x", "created_at": 1.0}])
    add_target(catalog, "the same connection may, later")


def test_connections_are_kept_and_never_more_than_their_bound(url: str) -> None:
    with closing(Catalog(url, 2)) as catalog, psycopg.connect(url) as looker:

        def ask(_: int) -> int:
            with catalog.read() as connection:
                return int(connection.scalar(text("SELECT pg_backend_pid()")))

        with ThreadPoolExecutor(8) as pool:
            asked = set(pool.map(ask, range(100)))
        query = (
            "SELECT pid FROM pg_stat_activity "
            "WHERE datname = current_database() AND application_name = 'inductory-store'"
        )
        there = {pid for (pid,) in looker.execute(query)}
    assert asked == there
    assert len(there) <= 2


def test_nothing_waits_for_ever(catalog: Catalog) -> None:
    with catalog.write() as connection:
        names = ("lock_timeout", "statement_timeout", "idle_in_transaction_session_timeout")
        bounds = [connection.exec_driver_sql(f"SHOW {name}").scalar() for name in names]
    assert "0" not in bounds


def test_a_text_that_postgresql_has_no_place_for_is_malformed(postgresql_store_url: str) -> None:
    with closing(Talk(postgresql_store_url, "nul").http) as http:
        talk = Talk(postgresql_store_url, "nul")
        talk.put_blob(b"payload")
        value = artifact([descriptor(b"payload")], target=Target({**TARGET.factors, "name": "a\0b"}))
        assert "NUL" in problem(talk.put_artifact(value), 400, "malformed").detail
        problem(talk.put_build(build([], "nul", "a\0b")), 400, "malformed")
        problem(http.get("/v1/artifacts", params={"model": "a\0b"}), 400, "malformed")
        assert talk.put_artifact(artifact([descriptor(b"payload")])).status_code == 201
        talk.http.close()


def test_another_encoding_is_refused(postgresql: PostgresqlServer) -> None:
    with (
        postgresql.database(options="TEMPLATE template0 ENCODING 'SQL_ASCII'") as url,
        closing(Catalog(url)) as catalog,
        pytest.raises(BadSettings, match="has the encoding SQL_ASCII"),
    ):
        upgrade(catalog.engine)


def test_a_wrong_password_is_told_of_without_it(url: str, tmp_path: Path) -> None:
    password = urlsplit(url).password or ""
    wrong = {"INDUCTORY_STORE_DATABASE_URL": url.replace(password, "sesame")}
    with pytest.raises(RuntimeError, match=r"postgresql\+psycopg://store:\*\*\*@127\.0\.0\.1") as refused:
        StoreProcess(tmp_path / "store", wrong)
    assert "sesame" not in str(refused.value)
    assert "Traceback" not in str(refused.value)


def test_a_store_that_starts_waits_for_one_that_migrates(postgresql: PostgresqlServer) -> None:
    with postgresql.database(migrated=False) as url, closing(Catalog(url)) as catalog:
        with psycopg.connect(url) as other, ThreadPoolExecutor(1) as pool:
            other.execute("SELECT pg_advisory_xact_lock(%s)", [migrate._TURN])
            starting = pool.submit(upgrade, catalog.engine)
            waits = "SELECT count(*) FROM pg_locks WHERE locktype = 'advisory' AND NOT granted"
            wait_until(lambda: starting.done() or other.execute(waits).fetchall() == [(1,)])
            assert not starting.done()
            tables = "SELECT count(*) FROM pg_tables WHERE schemaname = 'public'"
            assert other.execute(tables).fetchall() == [(0,)], "it waits before it looks"
            other.rollback()
            starting.result()
        with catalog.read() as connection:
            assert is_current(connection)


MANY = """
INSERT INTO target VALUES ('t', 1);
INSERT INTO artifact (namespace, key, scheme, graph_digest, shape, backend, options, target,
                      state, signer, payload, payload_size, used, created_at, record)
SELECT 'default', lpad(to_hex(at), 64, '0'), 'inductory', 'g', '1-' || at % 7, 'inductor', '', 't',
       'ready', 's', 'p', 7, at % 10 <> 0, at, ''
FROM generate_series(1, 5000) at;
INSERT INTO manifest SELECT 'default', lpad(to_hex(at), 64, '0'), 'inductory', 'g', 'g', 3, true, at, ''
FROM generate_series(1, 500) at;
INSERT INTO manifest_entry
SELECT 'default', lpad(to_hex(m), 64, '0'), at, '1-' || at, 'inductor',
       lpad(to_hex((m * 7 + at) % 5000 + 1), 64, '0')
FROM generate_series(1, 500) m, generate_series(1, 20) at;
INSERT INTO build SELECT 'default', lpad(to_hex(at), 64, '0'), '', 'model ' || at % 50, 's', 'c', 't', at, ''
FROM generate_series(1, 1000) at;
INSERT INTO build_entry
SELECT 'default', lpad(to_hex(b), 64, '0'), at, 'f' || at, lpad(to_hex((b + at) % 500 + 1), 64, '0'), null, ''
FROM generate_series(1, 1000) b, generate_series(0, 2) at;
ANALYZE;
"""


def scanned(plan: dict[str, Any]) -> Iterator[tuple[str, int]]:
    """Yield the tables of a plan with how many rows were read of each; all, where no index was used."""
    if "Relation Name" in plan:
        assert plan["Node Type"] != "Seq Scan", f"{plan['Relation Name']} is scanned"
        read = plan["Actual Rows"] + plan.get("Rows Removed by Filter", 0)
        yield plan["Relation Name"], round(read * plan["Actual Loops"])
    for part in plan.get("Plans", ()):
        yield from scanned(part)


def test_a_page_of_the_lookup_costs_the_same_wherever_it_is(url: str, catalog: Catalog) -> None:
    with psycopg.connect(url) as connection:
        connection.execute(MANY.encode())
    seen: list[tuple[str, Any]] = []
    listen = (catalog.engine, "before_cursor_execute", lambda _, __, *statement: seen.append(statement[:2]))
    event.listen(*listen)
    for build_key in (1, 400, 800):
        after = Place(f"{build_key:064x}", "", -1, "", "", "")
        with catalog.read() as connection:
            assert len(look_up(connection, Filters(namespace="default"), after, 20)) == 20
            statement, parameters = seen[-1]
            explained = connection.exec_driver_sql(f"EXPLAIN (ANALYZE, FORMAT JSON) {statement}", parameters)
            (plan,) = explained.scalar_one()
        read = list(scanned(plan["Plan"]))
        assert {"build_entry", "manifest_entry", "artifact"} <= {name for name, _ in read}
        assert max(count for _, count in read) < 200
    event.remove(*listen)


def test_messages_of_the_server_stay_in_the_log(url: str, tmp_path: Path) -> None:
    with StoreProcess(tmp_path / "store", {"INDUCTORY_STORE_DATABASE_URL": url}) as store:
        talk = Talk(store.url, "default")
        with psycopg.connect(url) as connection:
            connection.execute("ALTER TABLE build RENAME TO somewhere")
        found = problem(talk.http.get("/v1/builds"), 503, "storage_failed")
        assert found == wire.Problem(
            type="urn:inductory:problem:storage_failed",
            title="The storage failed to read or write.",
            status=503,
            code="storage_failed",
            detail="the catalog failed to read or write",
            retryable=True,
        )
        assert "UndefinedTable" in store.log
        talk.http.close()
