"""The collector waits while much is loaded, and goes on as it was."""

from __future__ import annotations

import gc
import os
import threading
from collections.abc import Iterator

import pytest
from inductory_client.collection import collection_paused


@pytest.fixture(autouse=True)
def _as_it_was() -> Iterator[None]:
    was = gc.isenabled()
    gc.enable()
    yield
    (gc.enable if was else gc.disable)()


def test_it_waits_and_goes_on() -> None:
    with collection_paused():
        assert not gc.isenabled()
        with collection_paused():
            assert not gc.isenabled()
        assert not gc.isenabled()
    assert gc.isenabled()


def test_it_goes_on_after_an_error() -> None:
    with pytest.raises(ValueError, match="wrong"), collection_paused():
        raise ValueError("wrong")
    assert gc.isenabled()


def test_one_that_was_off_stays_off() -> None:
    gc.disable()
    with collection_paused():
        pass
    assert not gc.isenabled()


def test_the_last_thread_lets_it_go_on() -> None:
    inside, leave = threading.Event(), threading.Event()

    def load() -> None:
        with collection_paused():
            inside.set()
            leave.wait()

    thread = threading.Thread(target=load)
    thread.start()
    inside.wait()
    with collection_paused():
        pass
    assert not gc.isenabled(), "the other one loads still"
    leave.set()
    thread.join()
    assert gc.isenabled()


def test_a_forked_child_collects() -> None:
    with collection_paused():
        pid = os.fork()
        if not pid:
            os._exit(0 if gc.isenabled() else 1)
    assert os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]) == 0
    assert gc.isenabled()
