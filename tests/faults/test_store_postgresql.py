"""PostgreSQL restarts, fills up, and is met by several stores at once: a clear error or the right rows."""

from __future__ import annotations

import os
import signal
import subprocess
import threading
from collections import Counter
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack, closing
from pathlib import Path

import httpx
import psycopg
import pytest
from inductory_client.contract import wire
from inductory_client.contract.build import Build, BuildEntry
from inductory_client.contract.digest import digest_of
from inductory_store.catalog.tables import metadata
from msgspec.structs import replace
from postgresql_server import PostgresqlServer
from replicas import wait_until
from store_messages import Talk, artifact, build, descriptor, manifest, problem
from store_process import Database, StoreProcess

LEFT_BYTES = 1 << 20
"""Room for the first few artifacts."""
REPLICAS = 3
KEYS = 8


@pytest.fixture
def own_postgresql(postgresql_bin: Path) -> Iterator[PostgresqlServer]:
    """A server that a test may end."""
    with PostgresqlServer(postgresql_bin) as server:
        yield server


@pytest.fixture
def shared(postgresql: PostgresqlServer) -> Iterator[Database]:
    with postgresql.database() as url:
        yield {"INDUCTORY_STORE_DATABASE_URL": url}


def start_replicas(folder: Path, shared: Database, stack: ExitStack, count: int) -> list[StoreProcess]:
    """Stores that share the database and the folder of blobs."""
    return [stack.enter_context(StoreProcess(folder / "store", shared)) for _ in range(count)]


def talk_to(store: StoreProcess, stack: ExitStack) -> Talk:
    talk = Talk(store.url, "default")
    stack.callback(talk.http.close)
    return talk


def check_all(talk: Talk) -> set[str]:
    """Check that everything which the store promises is there, and return the models of its builds."""
    pages, cursor = [], None
    while True:
        query = {"limit": 500} | ({"cursor": cursor} if cursor else {})
        page = wire.decode(talk.http.get("/v1/builds", params=query).content, wire.BuildPage)
        pages.extend(page.builds)
        cursor = page.next
        if cursor is None:
            break
    for each in pages:
        answer = talk.http.get(f"/v1/builds/{each.key}/bundle")
        assert answer.status_code == 200
        found = wire.decode(talk.http.get(f"/v1/builds/{each.key}").content, Build)
        for entry in found.entries:
            (piece,) = talk.http.get(f"/v1/manifests/{entry.manifest}").json()["entries"]
            payload = talk.resolve(piece["artifact"]).hits[0].subject.descriptors[0]
            assert digest_of(talk.http.get(f"/v1/blobs/{payload.digest}").content) == payload.digest
    return {each.model for each in pages}


class Load:
    """Publishes builds without end, each step until it is taken; counts the answers."""

    def __init__(self, url: str, name: str) -> None:
        self._talk, self._name = Talk(url, "default"), name
        self._over = threading.Event()
        self.published: set[str] = set()
        self.answers: Counter[tuple[int, str]] = Counter()

    def run(self) -> None:
        with closing(self._talk.http):
            at = 0
            while not self._over.is_set():
                self._publish(f"{self._name} {at}")
                at += 1

    def end(self) -> None:
        self._over.set()

    def _publish(self, name: str) -> None:
        data = name.encode() * 100
        piece = artifact([descriptor(data)], name)
        captured = manifest([piece], name)
        start = build([captured], "default", name)
        steps = (
            lambda: self._talk.put_blob(data),
            lambda: self._talk.put_artifact(piece),
            lambda: self._talk.put_manifest(captured),
            lambda: self._talk.put_build(start),
        )
        for step in steps:
            while not (answer := step()).is_success:
                self.answers[answer.status_code, answer.json()["code"]] += 1
                if self._over.is_set():
                    return
            self.answers[answer.status_code, ""] += 1
        self.published.add(name)


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGQUIT], ids=["shut down", "crashed"])
def test_postgresql_restarts_under_load(
    own_postgresql: PostgresqlServer, tmp_path: Path, number: signal.Signals
) -> None:
    server = own_postgresql
    with (
        server.database() as url,
        StoreProcess(tmp_path / "store", {"INDUCTORY_STORE_DATABASE_URL": url}) as store,
        ThreadPoolExecutor(3) as pool,
        ExitStack() as stack,
    ):
        loads = [Load(store.url, f"load {at}") for at in range(3)]
        for load in loads:
            stack.callback(load.end)
        running = [pool.submit(load.run) for load in loads]
        store.wait_until(lambda: all(len(load.published) > 2 for load in loads))
        server.stop(number)
        store.wait_until(lambda: all(load.answers[503, "storage_failed"] for load in loads))
        assert httpx.get(f"{store.url}/healthz").status_code == 200
        unready = httpx.get(f"{store.url}/readyz")
        assert unready.status_code == 503
        checks = wire.decode(unready.content, wire.Status).checks
        assert checks == {"database": "the catalog failed to read or write", "blobs": "ok"}
        problem(httpx.get(f"{store.url}/v1/builds"), 503, "storage_failed")
        server.start()
        store.wait_until(lambda: httpx.get(f"{store.url}/readyz").status_code == 200)
        before = [len(load.published) for load in loads]
        store.wait_until(
            lambda: all(len(load.published) > at + 2 for load, at in zip(loads, before, strict=True))
        )
        for load in loads:
            load.end()
        for each in running:
            each.result()
        answered = {answer for load in loads for answer in load.answers}
        assert answered == {(201, ""), (503, "storage_failed")} | (answered & {(200, "")})
        talk = talk_to(store, stack)
        assert check_all(talk) >= {name for load in loads for name in load.published}


def test_a_frozen_postgresql_is_told_and_thaws(own_postgresql: PostgresqlServer, tmp_path: Path) -> None:
    """Its connections stay, and nothing answers: all threads of a store wait for that."""
    server = own_postgresql
    with (
        server.database() as url,
        StoreProcess(tmp_path / "store", {"INDUCTORY_STORE_DATABASE_URL": url}) as store,
        httpx.Client(base_url=store.url, timeout=60, limits=httpx.Limits(max_connections=80)) as http,
        ThreadPoolExecutor(64) as pool,
    ):
        assert http.get("/readyz").status_code == 200
        with server.frozen():
            waiting = [pool.submit(http.get, "/v1/builds") for _ in range(64)]
            unready = http.get("/readyz")
            assert unready.status_code == 503
            checks = wire.decode(unready.content, wire.Status).checks
            assert checks == {"database": "it hasn't answered for 3 s", "blobs": "ok"}
            assert http.get("/healthz").status_code == 200
        assert {each.result().status_code for each in waiting} <= {200, 503}
        store.wait_until(lambda: http.get("/readyz").status_code == 200)


def test_replicas_that_publish_the_same_keys_agree_on_one_artifact_each(
    tmp_path: Path, shared: Database
) -> None:
    with ExitStack() as stack:
        talks = [talk_to(each, stack) for each in start_replicas(tmp_path, shared, stack, REPLICAS)]
        gates = [threading.Barrier(REPLICAS) for _ in range(KEYS)]

        def publish(number: int) -> list[tuple[str, wire.Published]]:
            """Each store is sent bytes of its own for each key, all at the same moment."""
            told = []
            for at, gate in enumerate(gates):
                data = b"piece %d by %d" % (at, number)
                value = artifact([descriptor(data)], f"graph {at}")
                assert talks[number].put_blob(data).status_code == 201
                gate.wait(60)
                told.append(
                    (data.decode(), wire.decode(talks[number].put_artifact(value).content, wire.Published))
                )
            return told

        with ThreadPoolExecutor(REPLICAS) as pool:
            for same_key in zip(*pool.map(publish, range(REPLICAS)), strict=True):
                outcomes = [published.outcome for _, published in same_key]
                assert sorted(outcomes) == ["created", *["different"] * (REPLICAS - 1)]
                first = same_key[outcomes.index("created")][0]
                key = same_key[0][1].key
                for talk in talks:
                    (kept,) = talk.resolve(key).hits
                    assert kept.subject.descriptors == (descriptor(first.encode()),)
                    agreement = talk.http.get(f"/v1/artifacts/{key}/agreement").json()
                    assert (agreement["different"], len(agreement["repeats"])) == (REPLICAS - 1, REPLICAS - 1)


def test_replicas_that_extend_one_build_unite_its_entries(tmp_path: Path, shared: Database) -> None:
    with ExitStack() as stack:
        talks = [talk_to(each, stack) for each in start_replicas(tmp_path, shared, stack, REPLICAS)]
        piece = talks[0].publish(b"payload")
        captured = [manifest([piece], f"outer {at}") for at in range(KEYS)]
        start = build([], "default")
        gates = [threading.Barrier(REPLICAS) for _ in captured]

        def extend(number: int) -> list[wire.BuildStored]:
            """All send the same manifests, each beginning elsewhere; every message has a few again."""
            stored, sent = [], []
            for at, gate in enumerate(gates):
                each = captured[(at + 5 * number) % KEYS]
                sent.append(BuildEntry(name="forward", manifest=each.id))
                assert talks[number].put_manifest(each).is_success
                gate.wait(60)
                answer = talks[number].put_build(replace(start, entries=tuple(sent[-3:])))
                stored.append(wire.decode(answer.content, wire.BuildStored))
            return stored

        with ThreadPoolExecutor(REPLICAS) as pool:
            stored = [each for told in pool.map(extend, range(REPLICAS)) for each in told]
        assert sum(each.created for each in stored) == 1
        for talk in talks:
            found = wire.decode(talk.http.get(f"/v1/builds/{start.key}").content, Build)
            assert Counter(entry.manifest for entry in found.entries) == Counter(each.id for each in captured)


@pytest.mark.parametrize("table", ["artifact_blob", "build_entry"])
def test_a_replica_killed_within_a_publish_leaves_no_half_of_it(
    tmp_path: Path, shared: Database, table: str
) -> None:
    """The first rows of a publish are written when the process dies, the others aren't."""
    url = shared["INDUCTORY_STORE_DATABASE_URL"]
    with ExitStack() as stack:
        dying, living = start_replicas(tmp_path, shared, stack, 2)
        talks = [talk_to(each, stack) for each in (dying, living)]
        captured = manifest([talks[1].publish(b"payload")])
        talks[1].put_manifest(captured)
        talks[1].put_blob(b"another payload")
        value = artifact([descriptor(b"another payload")], "another graph")
        start = build([captured], "default")

        def publish(talk: Talk) -> httpx.Response:
            return talk.put_artifact(value) if table == "artifact_blob" else talk.put_build(start)

        pool = stack.enter_context(ThreadPoolExecutor(1))
        before = counts(url)
        with psycopg.connect(url) as holder:
            holder.execute(f"LOCK TABLE {table} IN SHARE MODE".encode())
            publishing = pool.submit(publish, talks[0])
            waits = f"SELECT count(*) FROM pg_locks WHERE relation = '{table}'::regclass AND NOT granted"
            wait_until(lambda: holder.execute(waits.encode()).fetchall() == [(1,)])
            dying.kill()
            with pytest.raises(httpx.HTTPError):
                publishing.result()
        # PostgreSQL undoes it once it notices; who publishes the same waits for that.
        assert publish(talks[1]).status_code == 201
        after = counts(url)
        assert after[table] == before[table] + 1
        assert publish(talks[1]).status_code == 200
        assert counts(url) == after
        assert talks[1].resolve(value.key).hits == ((value,) if table == "artifact_blob" else ())


def counts(url: str) -> dict[str, int]:
    with psycopg.connect(url) as connection:
        rows = [
            (name, connection.execute(f'SELECT count(*) FROM "{name}"'.encode()).fetchone())
            for name in metadata.tables
        ]
    return {name: row[0] for name, row in rows if row is not None}


@pytest.fixture
def small_space(postgresql: PostgresqlServer) -> Iterator[tuple[Path, str]]:
    """A file system of 24 MiB with a database on it; only root may mount one."""
    disk = postgresql.make_folder("disk")
    owner = disk.stat()
    options = f"size=24m,mode=700,uid={owner.st_uid},gid={owner.st_gid}"
    mount = ["mount", "-t", "tmpfs", "-o", options, "tmpfs", str(disk)]
    if subprocess.run(mount, capture_output=True, check=False).returncode:
        disk.rmdir()
        pytest.skip("mounting a small disk takes root")
    try:
        with (
            postgresql.tablespace(str(disk)) as space,
            postgresql.database(options=f"TEMPLATE migrated TABLESPACE {space}") as url,
        ):
            yield disk, url
    finally:
        subprocess.run(["umount", str(disk)], check=True)
        disk.rmdir()


def test_a_full_disk_of_postgresql(small_space: tuple[Path, str], tmp_path: Path) -> None:
    disk, url = small_space
    with (
        StoreProcess(tmp_path / "store", {"INDUCTORY_STORE_DATABASE_URL": url}) as store,
        ExitStack() as stack,
    ):
        talk = talk_to(store, stack)
        talk.put_blob(b"payload")
        room = os.statvfs(disk)
        (disk / "ballast").write_bytes(bytes(room.f_bavail * room.f_bsize - LEFT_BYTES))
        answer, at = talk.put_artifact(artifact([descriptor(b"payload")], "graph 0")), 0
        while answer.is_success:
            at += 1
            answer = talk.put_artifact(artifact([descriptor(b"payload")], f"graph {at}"))
        problem(answer, 507, "storage_full")
        missed = artifact([descriptor(b"payload")], f"graph {at}")
        assert talk.resolve(missed.key).hits == ()
        assert len(talk.resolve(artifact([descriptor(b"payload")], "graph 0").key).hits) == 1
        (disk / "ballast").unlink()
        assert talk.put_artifact(missed).status_code == 201
        assert talk.resolve(missed.key).hits == (missed,)
