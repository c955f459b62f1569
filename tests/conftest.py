"""Servers for tests: real processes on loopback, stopped by their pid."""

from __future__ import annotations

import os
from collections.abc import Iterator

import pytest
import swift_server
from bucket import OwnBucket, S3Server
from store_process import StoreProcess
from swift_server import SwiftServer


@pytest.fixture(scope="session")
def store_url(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """The address of a store process that all tests share: use your own namespace where you count things."""
    with StoreProcess(tmp_path_factory.mktemp("store")) as store:
        yield store.url


@pytest.fixture(scope="session")
def s3_server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[S3Server]:
    """A server with an S3 interface that all tests share."""
    if not swift_server.is_installed() and "CI" not in os.environ:
        pytest.skip("Swift isn't here: scripts/setup.sh servers swift")
    with SwiftServer(tmp_path_factory.mktemp("swift")) as swift:
        yield S3Server(swift.url, "test:tester", swift_server.USERS["test:tester"], swift_server.REGION)


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
