from __future__ import annotations

import logging
import multiprocessing
import os
import threading
from pathlib import Path

import pytest
from inductory_client.background import Background
from inductory_client.trouble import forget_warnings

LONG_S = 60.0


@pytest.fixture(autouse=True)
def _warn_again() -> None:
    forget_warnings()


class Work:
    """Work that waits until it may go on."""

    def __init__(self) -> None:
        self.begun = threading.Semaphore(0)
        self.go = threading.Event()
        self.batches: list[list[int]] = []

    def __call__(self, items: list[int]) -> None:
        self.begun.release()
        assert self.go.wait(LONG_S)
        self.batches.append(items)


def test_all_is_done_in_order() -> None:
    work = Work()
    work.go.set()
    background = Background("test", work, items_max=100)
    assert all(background.add(n) for n in range(10))
    assert background.drain(LONG_S)
    assert work.batches == [[n] for n in range(10)]
    assert background.close(LONG_S)


def test_a_full_queue_drops_counts_and_warns_once(caplog: pytest.LogCaptureFixture) -> None:
    work = Work()
    background = Background("test", work, items_max=2)
    background.add(0)
    work.begun.acquire()  # the first is under way, so two more have room
    with caplog.at_level(logging.WARNING, "inductory"):
        assert [background.add(n) for n in range(1, 6)] == [True, True, False, False, False]
    assert background.dropped == 3
    assert len(caplog.records) == 1
    work.go.set()
    assert background.drain(LONG_S)
    assert work.batches == [[0], [1], [2]]
    background.close(LONG_S)


def test_weights_are_bounded_but_one_item_always_goes() -> None:
    work = Work()
    background = Background("test", work, items_max=10, weight_max=100)
    assert background.add(0, weight=1000)
    work.begun.acquire()
    assert not background.add(1, weight=1)
    work.go.set()
    assert background.drain(LONG_S)
    assert background.add(2, weight=60)
    assert background.drain(LONG_S)
    assert work.batches == [[0], [2]]
    background.close(LONG_S)


def test_draining_is_bounded_and_what_is_left_is_said(caplog: pytest.LogCaptureFixture) -> None:
    work = Work()
    background = Background("test", work, items_max=10)
    background.add(0)
    background.add(1)
    work.begun.acquire()
    with caplog.at_level(logging.WARNING, "inductory"):
        assert not background.drain(0)
        assert not background.close(0)
    assert "1 left undone" in caplog.text
    assert not background.add(2), "nothing is taken after the end"
    work.go.set()


def test_a_batch_gathers_until_somebody_waits() -> None:
    work = Work()
    work.go.set()
    background = Background("test", work, items_max=10, batch_max=5, pause_s=LONG_S)
    for n in range(3):
        background.add(n)
    assert background.drain(LONG_S)
    assert work.batches == [[0, 1, 2]]
    background.close(LONG_S)


def test_work_that_raises_costs_its_batch_only(caplog: pytest.LogCaptureFixture) -> None:
    done: list[int] = []

    def work(items: list[int]) -> None:
        if items == [1]:
            raise ValueError("oh")
        done.extend(items)

    background = Background("test", work, items_max=10)
    with caplog.at_level(logging.WARNING, "inductory"):
        for n in range(3):
            background.add(n)
        assert background.drain(LONG_S)
    assert done == [0, 2]
    assert "oh" in caplog.text
    background.close(LONG_S)


@pytest.mark.filterwarnings("ignore:.*fork.*:DeprecationWarning")
def test_a_forked_child_begins_anew() -> None:
    work = Work()
    background = Background("test", work, items_max=10)
    background.add(0)
    background.add(1)
    work.begun.acquire()
    child = os.fork()
    if child == 0:
        work.go.set()
        background.add(7)
        ok = background.drain(LONG_S) and work.batches == [[7]]
        os._exit(0 if ok else 1)
    assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 0
    work.go.set()
    assert background.drain(LONG_S)
    assert work.batches == [[0], [1]]
    background.close(LONG_S)


@pytest.mark.filterwarnings("ignore:.*fork.*:DeprecationWarning")
@pytest.mark.parametrize("method", ["fork", "spawn"])
def test_a_child_of_multiprocessing_ends_what_it_began(method: str, tmp_path: Path) -> None:
    """Such a child leaves by os._exit, past atexit."""
    child = multiprocessing.get_context(method).Process(target=add_and_leave, args=(tmp_path / "done",))
    child.start()
    child.join(LONG_S)
    assert child.exitcode == 0
    assert (tmp_path / "done").read_text() == "[1, 2, 3]"


def add_and_leave(path: Path) -> None:
    gathering = Background(
        "test", lambda items: write(path, items), items_max=10, batch_max=5, pause_s=LONG_S, exit_s=LONG_S
    )
    for n in (1, 2, 3):
        gathering.add(n)


def write(path: Path, items: list[int]) -> None:
    path.write_text(str(items))
