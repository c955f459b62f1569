"""Sweeps go on whatever becomes of one, and end with the store."""

from __future__ import annotations

import logging
import threading
import time

import pytest
from inductory_client.contract.errors import StorageFailed
from inductory_store.sweeping import sweeping

PATIENCE_S = 60.0


def test_a_sweep_that_fails_is_told_and_the_next_one_comes(caplog: pytest.LogCaptureFixture) -> None:
    told: list[float] = []
    again = threading.Event()

    def sweep(now: float) -> int:
        told.append(now)
        if len(told) == 1:
            raise StorageFailed("the bucket is away")
        again.set()
        return 0

    before = time.time()
    with caplog.at_level(logging.WARNING), sweeping(sweep, every_s=0.001):
        assert again.wait(PATIENCE_S)
    assert before <= told[0] <= told[1] <= time.time()
    assert caplog.messages == ["what was left behind wasn't removed: the bucket is away"]


def test_none_comes_after_the_end() -> None:
    swept = threading.Event()

    def sweep(_: float) -> int:
        threads.append(threading.current_thread())
        swept.set()
        return 0

    threads: list[threading.Thread] = []
    with sweeping(sweep, every_s=0.001):
        assert swept.wait(PATIENCE_S)
    threads[0].join(PATIENCE_S)
    assert not threads[0].is_alive()
