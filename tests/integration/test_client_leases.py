"""Leases between processes' clients and a store: taken, renewed, ended, and fenced off."""

from __future__ import annotations

import os
import re
import signal
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any, BinaryIO
from urllib.parse import urlsplit

import pytest
from client_samples import TARGET, FakeClock, client, draft, publication, wanted
from inductory_client.client import Client
from inductory_client.contract.build import DEFAULT_NAMESPACE
from inductory_client.contract.digest import digest_of
from inductory_client.contract.lease import HeldKey, KeysAwaited
from inductory_client.publication import Publication
from misbehaving import Handler, Misbehaving, refused, requests
from store_process import StoreProcess

TESTS = Path(__file__).parents[1]


@pytest.fixture
def namespace(request: pytest.FixtureRequest) -> str:
    return "client-leases-" + digest_of(request.node.name.encode())[:12]


@pytest.fixture
def nodes(own_store_url: str, namespace: str, tmp_path: Path) -> Iterator[list[Client]]:
    """Two machines, of which the second trusts the first."""
    shared: dict[str, Any] = {"url": own_store_url, "namespace": namespace, "store_deadline_s": 60.0}
    first = client(tmp_path / "first", **shared)
    first.signing_key()
    second = client(tmp_path / "second", **shared, trusted_keys=(tmp_path / "first" / "config",))
    yield [first, second]
    first.close()
    second.close()


def held(node: Client, key: str) -> HeldKey | None:
    """How a key is held, as the store tells anybody."""
    standing = node.reach_store().await_keys(KeysAwaited(keys=(key,), wait_s=0))
    return standing.held[0] if standing.held else None


def see_renewed(node: Client, key: str, times: int) -> None:
    """Return once what is left of a lease was seen to grow so often, its first sight included."""
    before, seen_to_grow = 0.0, 0
    while seen_to_grow < times:
        now = held(node, key)
        assert now is not None, "it never runs out"
        seen_to_grow += now.expires_in_s > before
        before = now.expires_in_s


def test_what_one_compiles_the_other_waits_for(nodes: list[Client]) -> None:
    first, second = nodes
    one = draft("a")
    key = one.subject.key
    assert first.leases.take([key]).mine == {key}
    assert second.leases.take([key]).held == {key}
    with ThreadPoolExecutor(1) as pool:
        waiting = pool.submit(second.leases.wait, [key], time.monotonic() + 60)
        report = first.publisher.publish_now(Publication(artifacts=(one,)))
        assert (report.created, report.left) == (1, ())
        standing = waiting.result()
    assert standing is not None
    assert standing.published == (key,)
    assert second.leases.take([key]).published == {key}
    assert second.fetch(wanted(one), TARGET).pieces.keys() == {key}


def answers_lost(url: str, path: bytes, gate: threading.Event | None = None, *, sent: bool = True) -> Handler:
    """A way to a store on which the first answer to `path` is lost, after the store has given it; unless
    `sent`, the question is. The second question to `path` waits for `gate`, if there is one.
    """
    place = urlsplit(url)
    assert place.port is not None
    address = ("127.0.0.1", place.port)
    asked: list[bytes] = []

    def handle(sock: socket.socket, server: Misbehaving) -> None:
        with socket.create_connection(address) as store, store.makefile("rb") as answers:
            for request in requests(sock, server):
                if path in request.partition(b"\r\n")[0]:
                    asked.append(request)
                    turn = len(asked)
                    if turn == 1:
                        if sent:
                            store.sendall(request)
                            whole(answers)
                        return
                    while turn == 2 and gate is not None and not gate.is_set():
                        if server.over.wait(0.005):
                            return
                store.sendall(request)
                sock.sendall(whole(answers))

    return handle


def whole(answers: BinaryIO) -> bytes:
    """Read an answer whose body has a length."""
    head = b""
    while not head.endswith(b"\r\n\r\n"):
        head += answers.readline()
    (length,) = re.findall(rb"content-length: (\d+)", head.lower())
    return head + answers.read(int(length))


@pytest.fixture
def unlucky(own_store_url: str, namespace: str, tmp_path: Path) -> Iterator[Client]:
    """A machine that doesn't learn of the lease that it was granted first, and that lasts for long."""
    with (
        Misbehaving(answers_lost(own_store_url, b"/leases?")) as way,
        client(tmp_path / "unlucky", url=way.url, namespace=namespace, lease_s=600.0) as node,
    ):
        yield node


def test_a_lease_whose_answer_was_lost_is_found_again(nodes: list[Client], unlucky: Client) -> None:
    one, (other, _) = draft("a"), nodes
    key = one.subject.key
    assert unlucky.leases.take([key]).mine == {key}, "it compiles all the same"
    assert held(other, key) is not None, "the store had granted it"
    report = unlucky.publisher.publish_now(Publication(artifacts=(one,)))
    assert (report.created, report.left) == (1, ())
    assert held(other, key) is None


def test_others_are_told_of_a_failure_under_a_lease_whose_answer_was_lost(
    own_store_url: str, namespace: str, nodes: list[Client], tmp_path: Path
) -> None:
    other, key, gate = nodes[0], draft("a").subject.key, threading.Event()
    with (
        Misbehaving(answers_lost(own_store_url, b"/leases?", gate)) as way,
        client(tmp_path / "unlucky", url=way.url, namespace=namespace, lease_s=600.0) as node,
        ThreadPoolExecutor(1) as pool,
    ):
        node.leases.take([key])
        waiting = pool.submit(other.leases.wait, [key], time.monotonic() + 60)
        node.leases.end([key], failure="no such instruction")
        node.leases.end([key])
        gate.set()  # whoever failed to compile hasn't waited for this
        standing = waiting.result()
    assert standing is not None
    assert [each.reason for each in standing.failed] == ["no such instruction"]


def test_a_client_that_closes_gives_back_a_lease_whose_answer_was_lost(
    nodes: list[Client], unlucky: Client
) -> None:
    key = draft("a").subject.key
    unlucky.leases.take([key])
    assert held(nodes[0], key) is not None
    unlucky.close()
    assert nodes[0].leases.take([key]).mine == {key}
    assert not unlucky.leases.any


def test_a_lease_granted_to_whoever_closed_meanwhile_is_given_back(
    own_store_url: str, namespace: str, nodes: list[Client], tmp_path: Path
) -> None:
    key, gate = draft("a").subject.key, threading.Event()
    with (
        Misbehaving(answers_lost(own_store_url, b"/leases?", gate)) as way,
        client(tmp_path / "unlucky", url=way.url, namespace=namespace, lease_s=600.0) as node,
    ):
        node.leases.take([key])
        node.leases.end([key])
        asking = node.leases._thread
        assert asking is not None
        while sum(b"/leases?" in request for request in way.asked) < 2:
            assert held(nodes[0], key) is not None
        node.close()
        assert held(nodes[0], key) is None
        gate.set()
        asking.join()
    assert held(nodes[0], key) is None


def test_a_lease_whose_answer_was_lost_is_renewed(
    own_store_url: str, namespace: str, nodes: list[Client], tmp_path: Path
) -> None:
    one = draft("a")
    with (
        Misbehaving(answers_lost(own_store_url, b"/leases?")) as way,
        client(tmp_path / "unlucky", url=way.url, namespace=namespace, lease_s=3.0) as node,
    ):
        node.leases.take([one.subject.key])
        see_renewed(nodes[0], one.subject.key, times=4)
        assert nodes[0].leases.take([one.subject.key]).held == {one.subject.key}
        assert node.publisher.publish_now(Publication(artifacts=(one,))).created == 1


def test_what_others_have_by_now_stays_theirs(
    own_store_url: str, namespace: str, nodes: list[Client], tmp_path: Path
) -> None:
    other, keys = nodes[0], [draft(name).subject.key for name in "ab"]
    with (
        Misbehaving(answers_lost(own_store_url, b"/leases?", sent=False)) as way,
        client(tmp_path / "unlucky", url=way.url, namespace=namespace, lease_s=600.0) as node,
    ):
        assert node.leases.take(keys).mine == set(keys)
        assert other.leases.take(keys).mine == set(keys)
        other.publisher.publish_now(Publication(artifacts=(draft("b"),)))
        node.leases.end(keys, failure="it isn't this one's to tell")
        node.leases.token_of(keys[0])
        assert not node.leases.any
    assert held(other, keys[0]) is not None
    turn = nodes[1].leases.take(keys)
    assert (turn.held, turn.published) == ({keys[0]}, {keys[1]})


def test_a_lease_that_may_have_been_is_forgotten_once_it_has_run_out(tmp_path: Path) -> None:
    clock, key = FakeClock(), draft("a").subject.key
    with refused() as url, client(tmp_path / "alone", url=url) as node:
        node.leases._clock = clock
        node.leases.take([key])
        node.leases.end([key])
        assert node.leases.token_of(key) is None
        assert node.leases.any, "the store may come back before that"
        clock.pass_by(node.settings.lease_s)
        assert node.leases.token_of(key) is None
        assert not node.leases.any


def test_who_lacks_the_lease_publishes_nothing(nodes: list[Client]) -> None:
    first, second = nodes
    both = publication("a", "b", namespace=first.settings.namespace)
    keys = [each.subject.key for each in both.artifacts]
    first.leases.take(keys[:1])
    report = second.publisher.publish_now(both)
    assert (report.created, report.left, report.manifest) == (1, (keys[0],), None)
    assert first.publisher.publish_now(both).created == 1
    assert second.publisher.publish_now(both).manifest == both.names.manifest.id  # type: ignore[union-attr]


def test_a_lease_is_renewed_while_it_is_needed(
    own_store_url: str, namespace: str, nodes: list[Client], tmp_path: Path
) -> None:
    key = draft("a").subject.key
    with client(tmp_path / "short", url=own_store_url, namespace=namespace, lease_s=3.0) as node:
        node.leases.take([key])
        see_renewed(nodes[0], key, times=3)
        node.leases.end([key])
        assert held(nodes[0], key) is None


def test_a_lease_ends_with_a_publication_that_cant_be(nodes: list[Client]) -> None:
    first, second = nodes
    one = draft("a")
    first.leases.take([one.subject.key])
    first.publisher.close(0)
    assert not first.publisher.submit(Publication(artifacts=(one,)))
    assert second.leases.take([one.subject.key]).mine == {one.subject.key}


def test_a_publication_in_the_background_ends_its_lease(nodes: list[Client]) -> None:
    first, _ = nodes
    one = draft("a")
    first.leases.take([one.subject.key])
    first.publisher.submit(Publication(artifacts=(one,)))
    assert first.publisher.drain(60)
    assert not first.leases.any


def test_a_client_that_closes_gives_its_leases_back(nodes: list[Client]) -> None:
    first, second = nodes
    key = draft("a").subject.key
    first.leases.take([key])
    first.close()
    assert second.leases.take([key]).mine == {key}


def test_a_compile_that_failed_is_known_to_others(nodes: list[Client]) -> None:
    first, second = nodes
    key = draft("a").subject.key
    first.leases.take([key])
    first.leases.end([key], failure="  \n")
    first.leases.end([key], failure="again")
    (failed,) = second.leases.take([key]).failed
    assert failed.reason == "unknown"


def test_who_doesnt_publish_takes_no_lease(nodes: list[Client], own_store_url: str, tmp_path: Path) -> None:
    first, second = nodes
    key, other = draft("a").subject.key, draft("b").subject.key
    second.leases.take([other])
    options: dict[str, Any] = {"url": own_store_url, "namespace": first.settings.namespace, "publish": False}
    with client(tmp_path / "reader", **options) as reader:
        turn = reader.leases.take([key, other])
        assert (turn.mine, turn.held) == ({key}, {other})
        assert not reader.leases.any
    assert first.leases.take([key]).mine == {key}


def test_without_a_store_all_is_compiled_here(tmp_path: Path) -> None:
    key = draft("a").subject.key
    with refused() as url:
        for options in ({}, {"url": url}):
            with client(tmp_path / "alone", **options) as node:
                assert node.leases.take([key]).mine == {key}
                assert node.leases.token_of(key) is None, "asked again, and in vain"
                node.leases.end([key])
            assert not node.leases.any


def test_who_waits_for_a_store_that_is_gone_gives_up(tmp_path: Path) -> None:
    ticks = iter(range(0, 10**6, 3))
    with refused() as url, client(tmp_path / "alone", url=url) as node:
        node.leases._clock = lambda: float(next(ticks))
        assert node.leases.wait([draft("a").subject.key], 10**5) is None


def test_a_forked_child_has_no_lease(nodes: list[Client], unlucky: Client) -> None:
    keys = {nodes[0]: draft("a").subject.key, unlucky: draft("b").subject.key}
    for node, key in keys.items():
        node.leases.take([key])
        child = os.fork()
        if child == 0:
            os._exit(0 if not node.leases.any and node.leases.token_of(key) is None else 1)
        assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 0
        assert node.leases.token_of(key) is not None


_FROZEN = """
import sys
from pathlib import Path
from client_samples import client, draft
from inductory_client.publication import Publication

node = client(Path(sys.argv[1]), url=sys.argv[2], namespace=sys.argv[3], lease_s=3.0)
node.leases.take([draft("a").subject.key])
print("taken", flush=True)
sys.stdin.readline()
print(*node.publisher.publish_now(Publication(artifacts=(draft("a", b"late"),))).left, flush=True)
"""


def test_a_holder_that_was_frozen_past_its_lease_is_fenced_off(
    nodes: list[Client], own_store_url: str, namespace: str, tmp_path: Path
) -> None:
    first, _ = nodes
    one = draft("a")
    key = one.subject.key
    command = [sys.executable, "-c", _FROZEN, str(tmp_path / "frozen"), own_store_url, namespace]
    with subprocess.Popen(
        command,
        env=os.environ | {"PYTHONPATH": os.pathsep.join([str(TESTS), os.environ.get("PYTHONPATH", "")])},
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
    ) as frozen:
        assert frozen.stdin is not None
        assert frozen.stdout is not None
        assert frozen.stdout.readline() == "taken\n"
        assert first.leases.take([key]).held == {key}
        frozen.send_signal(signal.SIGSTOP)
        standing = first.leases.wait([key], time.monotonic() + 60)
        assert standing is not None
        assert standing.free == (key,)
        assert first.leases.take([key]).mine == {key}
        frozen.send_signal(signal.SIGCONT)
        frozen.stdin.write("\n")
        frozen.stdin.flush()
        assert frozen.stdout.readline() == f"{key}\n", "what it sends isn't kept"
    assert first.publisher.publish_now(Publication(artifacts=(one,))).created == 1
    assert first.reach_store().get_artifact(key).subject == one.subject


def test_a_store_that_restarts_loses_no_lease(tmp_path: Path) -> None:
    key = draft("a").subject.key
    with StoreProcess(tmp_path / "data") as store:
        with client(tmp_path / "a", url=store.url, lease_s=600.0) as node:
            node.leases.take([key])
            token = node.leases.token_of(key)
            store.kill()
        with StoreProcess(tmp_path / "data") as again, client(tmp_path / "b", url=again.url) as node:
            assert node.settings.namespace == DEFAULT_NAMESPACE
            assert node.leases.take([key]).held == {key}
    assert token is not None
