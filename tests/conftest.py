"""Servers for tests: real processes on loopback, stopped by their pid."""

from __future__ import annotations

from collections.abc import Iterator

import pytest
from store_process import StoreProcess


@pytest.fixture(scope="session")
def store_url(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """The address of a store process that all tests share: use your own namespace where you count things."""
    with StoreProcess(tmp_path_factory.mktemp("store")) as store:
        yield store.url
