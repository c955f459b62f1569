"""A node fetches once for all its processes, and no process waits for one that got stuck."""

from __future__ import annotations

import fcntl
import itertools
import os
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
from client_samples import TARGET, client, draft, publication, wanted
from inductory_client.breaker import CircuitBreaker
from inductory_client.contract.digest import digest_of
from inductory_client.contract.errors import DeadlineExceeded
from inductory_client.contract.wire import ArtifactWanted, Resolve, Resolved
from inductory_client.deadline import Deadline
from inductory_client.fetch import Fetched
from inductory_client.flight import FOLDER, one_a_node
from inductory_client.transport import HttpStore

HOLDER = """
import signal, sys
from pathlib import Path
from inductory_client.deadline import Deadline
from inductory_client.flight import one_a_node

with one_a_node(Path(sys.argv[1]), sys.argv[2:], Deadline(60)):
    print("holds", flush=True)
    signal.pause()
"""
"""A process that asks for the same and gets stuck."""

PROCESSES = 6


class Node:
    """A node, each of whose processes is a client with the one cache of them all."""

    def __init__(self, folder: Path, url: str, namespace: str) -> None:
        self._folder = folder
        self._url = url
        self._namespace = namespace
        self.cache = folder / "cache"

    def publish(self, *names: str) -> None:
        with client(self._folder / "builder", **self._settings()) as builder:
            builder.publisher.publish_now(publication(*names, namespace=self._namespace))

    def fetch(self, *names: str, deadline_s: float = 30.0, share: float = 1.0) -> Fetched:
        """Have a process fetch, within its share of a start's deadline."""
        settings = self._settings() | {"store_deadline_s": deadline_s}
        with client(self._folder, **settings) as process:
            return process.fetch(asked(*names), TARGET, share=share)

    def _settings(self) -> dict[str, object]:
        places = {"config_dir": self._folder / "config", "url": self._url}
        return {**places, "namespace": self._namespace}


@pytest.fixture
def node(tmp_path: Path, store_url: str, request: pytest.FixtureRequest) -> Node:
    return Node(tmp_path, store_url, "flights-" + digest_of(request.node.name.encode())[:12])


def asked(*names: str) -> list[ArtifactWanted]:
    return wanted(*(draft(name) for name in names))


@contextmanager
def a_stuck_process(node: Node, *names: str) -> Iterator[subprocess.Popen[bytes]]:
    keys = [each.key for each in asked(*names)]
    command = [sys.executable, "-c", HOLDER, str(node.cache), *keys]
    with subprocess.Popen(command, stdout=subprocess.PIPE) as process:
        assert process.stdout is not None
        assert process.stdout.readline() == b"holds\n"
        try:
            yield process
        finally:
            process.kill()


def all_at_once(start: Callable[[], Fetched]) -> list[Fetched]:
    """Have processes start at the same time."""
    together = threading.Barrier(PROCESSES)
    found: list[Fetched] = []

    def run() -> None:
        together.wait()
        found.append(start())

    threads = [threading.Thread(target=run) for _ in range(PROCESSES)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    return found


@pytest.fixture
def asked_of_the_store(monkeypatch: pytest.MonkeyPatch) -> list[Resolve]:
    """What any process asks the real store."""
    asked: list[Resolve] = []
    resolve = HttpStore.resolve

    def counted(store: HttpStore, wanted: Resolve, deadline: Deadline | None = None) -> Resolved:
        asked.append(wanted)
        return resolve(store, wanted, deadline)

    monkeypatch.setattr(HttpStore, "resolve", counted)
    return asked


def test_processes_that_start_together_ask_and_move_the_bytes_once(
    node: Node, asked_of_the_store: list[Resolve]
) -> None:
    node.publish("a", "b")
    found = all_at_once(lambda: node.fetch("a", "b"))
    assert [len(each.pieces) for each in found] == [2] * PROCESSES
    assert sorted(each.bytes_moved > 0 for each in found) == [False] * (PROCESSES - 1) + [True]
    assert len(asked_of_the_store) == 1


class SlowStore:
    """A store that answers the first who asks once all others have waited for that in vain, and ask, too; and
    these not before their time is over.
    """

    def __init__(self, monkeypatch: pytest.MonkeyPatch, *, answers: bool) -> None:
        self._answers = answers
        self._asked = itertools.count(1)
        self._all_ask, self._first_is_done = threading.Event(), threading.Event()
        self._resolve = HttpStore.resolve
        self.given_up: list[CircuitBreaker] = []
        """Of those who don't ask again for a while."""
        resolve = self.resolve
        monkeypatch.setattr(HttpStore, "resolve", lambda *asked: resolve(*asked))
        monkeypatch.setattr(CircuitBreaker, "open", lambda breaker: self.given_up.append(breaker))

    def resolve(self, store: HttpStore, wanted: Resolve, deadline: Deadline | None = None) -> Resolved:
        number = next(self._asked)
        if number == PROCESSES:
            self._all_ask.set()
        if number == 1:
            assert self._all_ask.wait(30)
            if self._answers:
                return self._resolve(store, wanted, deadline)
        else:
            assert self._first_is_done.wait(30)
        raise DeadlineExceeded

    def asked_by(self, fetch: Callable[[], Fetched]) -> Fetched:
        """Fetch, and note that the first one is done, as whoever ends first is."""
        try:
            return fetch()
        finally:
            self._first_is_done.set()


def test_a_store_that_takes_most_of_the_time_serves_all_of_them(
    node: Node, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Who waited for another has less time to ask, and by its end the other has the answer."""
    node.publish("a")
    store = SlowStore(monkeypatch, answers=True)
    found = all_at_once(lambda: store.asked_by(lambda: node.fetch("a", share=0.2)))
    assert [(len(each.pieces), each.error) for each in found] == [(1, None)] * PROCESSES
    assert store.given_up == []


def test_only_who_had_all_of_its_time_gives_a_slow_store_up(
    node: Node, monkeypatch: pytest.MonkeyPatch
) -> None:
    node.publish("a")
    store = SlowStore(monkeypatch, answers=False)
    found = all_at_once(lambda: store.asked_by(lambda: node.fetch("a", share=0.2)))
    assert [type(each.error) for each in found] == [DeadlineExceeded] * PROCESSES
    assert len(store.given_up) == 1


def test_one_that_hangs_costs_the_others_half_of_their_time(node: Node) -> None:
    node.publish("a")
    with a_stuck_process(node, "a"):
        fetched = node.fetch("a", deadline_s=2.0)
    assert (len(fetched.pieces), fetched.error) == (1, None)


def test_one_that_was_killed_is_not_waited_for(node: Node) -> None:
    node.publish("a")
    with a_stuck_process(node, "a") as process:
        process.kill()
        process.wait()
        fetched = node.fetch("a")
    assert (len(fetched.pieces), fetched.error) == (1, None)
    assert fetched.seconds < 15  # what it would have waited for one that is alive


def test_what_one_got_while_another_waited_for_it_is_not_asked_for_again(node: Node) -> None:
    node.publish("a")
    with a_stuck_process(node, "a") as process:
        found: list[Fetched] = []
        waiting = threading.Thread(target=lambda: found.append(node.fetch("a")))
        waiting.start()
        # Another way in, past the lock: what a process that isn't stuck would have done under it.
        assert len(node.fetch("a", "b").pieces) == 1
        process.kill()
        waiting.join()
    assert (len(found[0].pieces), found[0].bytes_moved) == (1, 0)


def test_a_child_that_was_forked_meanwhile_keeps_nobody_waiting(node: Node) -> None:
    reading, writing = os.pipe()
    with one_a_node(node.cache, ["a key"], Deadline(5)):
        child = os.fork()
        if child == 0:
            os.close(writing)
            os.read(reading, 1)  # until the test is over
            os._exit(0)
    (file,) = (node.cache / FOLDER).iterdir()
    try:
        with file.open() as there:
            fcntl.flock(there, fcntl.LOCK_EX | fcntl.LOCK_NB)
    finally:
        os.close(writing)
        os.close(reading)
        os.waitpid(child, 0)


@pytest.mark.parametrize("spoilt", ["a file", "a link"])
def test_where_nothing_can_be_locked_everybody_asks(node: Node, spoilt: str, tmp_path: Path) -> None:
    node.publish("a")
    node.cache.mkdir(exist_ok=True)
    if spoilt == "a file":
        (node.cache / FOLDER).write_text("no folder")
    else:
        (node.cache / FOLDER).mkdir()
        for name in range(16**3):
            (node.cache / FOLDER / f"{name:03x}").symlink_to(tmp_path / "elsewhere")
    assert len(node.fetch("a").pieces) == 1
    assert not (tmp_path / "elsewhere").exists()


def test_there_is_a_bound_to_the_files_that_are_locked(node: Node) -> None:
    for number in range(5000):
        with one_a_node(node.cache, [f"key {number}"], Deadline(5)):
            pass
    assert len(list((node.cache / FOLDER).iterdir())) <= 16**3
