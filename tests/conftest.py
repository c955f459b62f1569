"""Servers for tests: real processes on loopback, stopped by their pid."""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path

import ceph_server
import pytest
import swift_server
from bucket import OwnBucket, S3Server
from postgresql_server import PostgresqlServer, programs
from released import is_cut_off, unpack_release
from s3_proxy import S3Proxy
from store_process import Database, StoreProcess

CATALOGS = ["sqlite", "postgresql"]


@pytest.fixture(scope="session")
def store_url(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """The address of a store process that all tests share: use your own namespace where you count things."""
    with StoreProcess(tmp_path_factory.mktemp("store")) as store:
        yield store.url


@pytest.fixture(scope="module")
def own_store_url(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """A store of a module's own: others send the same samples, and count what is sent."""
    with StoreProcess(tmp_path_factory.mktemp("store") / "data") as store:
        yield store.url


@pytest.fixture(scope="session")
def near_store_url(store_url: str, tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """A store that pulls from the one that all tests share."""
    environ = {"INDUCTORY_STORE_UPSTREAM_URL": store_url}
    with StoreProcess(tmp_path_factory.mktemp("near") / "data", environ) as store:
        yield store.url


@pytest.fixture(scope="session")
def postgresql_bin() -> Path:
    """The folder of PostgreSQL's programs; without them tests are skipped, and fail in CI."""
    found = programs()
    if found is None:
        give_up = pytest.fail if "CI" in os.environ else pytest.skip
        give_up("PostgreSQL is missing: scripts/setup.sh servers postgresql")
    return found


@pytest.fixture(scope="session")
def postgresql(postgresql_bin: Path) -> Iterator[PostgresqlServer]:
    """The run's PostgreSQL: take a database of your own."""
    with PostgresqlServer(postgresql_bin) as server:
        yield server


@pytest.fixture(scope="session")
def postgresql_store_url(
    postgresql: PostgresqlServer, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[str]:
    """The same as `store_url`, with its catalog on PostgreSQL."""
    with (
        postgresql.database() as url,
        StoreProcess(tmp_path_factory.mktemp("store"), {"INDUCTORY_STORE_DATABASE_URL": url}) as store,
    ):
        yield store.url


@pytest.fixture(params=CATALOGS)
def any_store_url(request: pytest.FixtureRequest) -> str:
    """The address of a store that all tests share, on SQLite and on PostgreSQL."""
    names = {"sqlite": "store_url", "postgresql": "postgresql_store_url"}
    return str(request.getfixturevalue(names[request.param]))


@pytest.fixture(params=CATALOGS)
def database(request: pytest.FixtureRequest) -> Iterator[Database]:
    """The catalog of a store of the test's own: SQLite in its data folder, and a database of PostgreSQL."""
    yield from _database(request)


@pytest.fixture(scope="module", params=CATALOGS)
def module_database(request: pytest.FixtureRequest) -> Iterator[Database]:
    """The same for a store that the tests of a module share."""
    yield from _database(request)


@pytest.fixture(params=CATALOGS)
def new_database(request: pytest.FixtureRequest) -> Iterator[Database]:
    """The same before any migration."""
    yield from _database(request, migrated=False)


def _database(request: pytest.FixtureRequest, *, migrated: bool = True) -> Iterator[Database]:
    if request.param == "sqlite":
        yield {}
        return
    server = request.getfixturevalue("postgresql")
    with server.database(migrated=migrated) as url:
        yield {"INDUCTORY_STORE_DATABASE_URL": url}


@pytest.fixture(scope="session")
def s3_server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[S3Server]:
    """A server with an S3 interface that all tests share: Swift, or what the variable S3_SERVER names."""
    name = os.environ.get("S3_SERVER", "swift")
    kind = {"swift": swift_server, "ceph": ceph_server}[name]
    if not kind.is_installed() and "CI" not in os.environ:
        pytest.skip(f"{name} isn't here: scripts/setup.sh servers {name}")
    with kind.Server(tmp_path_factory.mktemp(name)) as server:
        yield S3Server(
            server.url,
            kind.ACCESS_KEY,
            kind.SECRET,
            kind.GUEST,
            kind.GUEST_SECRET,
            kind.REGION,
            kind.TAKES_TRAILERS,
        )


@pytest.fixture(scope="session")
def shared_bucket(s3_server: S3Server) -> Iterator[OwnBucket]:
    client = s3_server.client()
    yield OwnBucket(s3_server, client).make()
    client.close()


@pytest.fixture
def bucket(shared_bucket: OwnBucket, monkeypatch: pytest.MonkeyPatch) -> OwnBucket:
    """A part of a bucket that no other test has, and credentials for it in this process's environment."""
    for name, text in shared_bucket.credentials.items():
        monkeypatch.setenv(name, text)
    return shared_bucket.apart()


@pytest.fixture(scope="session")
def s3_store_url(shared_bucket: OwnBucket, tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """As `store_url`, with the blobs in a bucket."""
    with StoreProcess(tmp_path_factory.mktemp("s3-store"), shared_bucket.apart().environ) as store:
        yield store.url


@pytest.fixture(scope="session")
def release(tmp_path_factory: pytest.TempPathFactory) -> dict[str, str]:
    """The environment of the last release's code."""
    try:
        return unpack_release(tmp_path_factory.mktemp("released"))
    except LookupError as absent:
        give_up = pytest.fail if "CI" in os.environ and not is_cut_off() else pytest.skip
        give_up(str(absent))


@pytest.fixture
def upstream(tmp_path: Path) -> Iterator[StoreProcess]:
    """A store that others pull from."""
    with StoreProcess(tmp_path / "upstream") as store:
        yield store


@pytest.fixture
def way(upstream: StoreProcess) -> Iterator[S3Proxy]:
    """The way to upstream, which notes what is asked there."""
    with S3Proxy(upstream.url) as proxy:
        yield proxy
