"""Servers for tests: real processes on loopback, stopped by their pid."""

from __future__ import annotations

import os
from collections.abc import Iterator

import ceph_server
import pytest
import swift_server
from bucket import OwnBucket, S3Server
from store_process import StoreProcess


@pytest.fixture(scope="session")
def store_url(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """The address of a store process that all tests share: use your own namespace where you count things."""
    with StoreProcess(tmp_path_factory.mktemp("store")) as store:
        yield store.url


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
