"""What is published in the background while another process has the lease of its key."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from queue import SimpleQueue
from typing import Any

import pytest
from client_samples import client, draft, publication
from inductory_client.client import Client
from inductory_client.contract.digest import digest_of
from inductory_client.contract.lease import Heartbeat, LeasesWanted
from inductory_client.publication import Publication
from inductory_client.publish import PublicationReport


@pytest.fixture
def node(own_store_url: str, request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Client]:
    namespace = "client-held-" + digest_of(request.node.name.encode())[:12]
    with client(tmp_path / "node", url=own_store_url, namespace=namespace) as node:
        yield node


class Reports(SimpleQueue[PublicationReport]):
    """What became of what the node published in the background."""

    def next(self) -> PublicationReport:
        return self.get(timeout=60)


@pytest.fixture
def reports(node: Client, monkeypatch: pytest.MonkeyPatch) -> Reports:
    told = Reports()
    monkeypatch.setattr(node.publisher, "_done", told.put)
    return told


def hold(node: Client, *keys: str, seconds: float) -> None:
    """Take leases that nobody renews, as a process does that is killed right after."""
    leased = node.reach_store().take_leases(LeasesWanted(holder="killed", keys=keys, seconds=seconds))
    assert len(leased.granted) == len(keys)


def test_what_a_dead_process_held_is_published_once_its_lease_is_over(node: Client, reports: Reports) -> None:
    both = publication("a", "b", namespace=node.settings.namespace)
    keys = [each.subject.key for each in both.artifacts]
    hold(node, keys[0], seconds=3.0)
    node.leases.take(keys)
    assert node.publisher.submit(both)
    report = reports.next()
    assert (report.created, report.left, report.build) == (1, (keys[0],), None)
    assert node.leases.token_of(keys[1]) is None, "its own lease isn't held for that"
    report = reports.next()
    assert (report.created, report.reproduced, report.left) == (1, 0, ())
    assert both.build is not None
    assert node.reach_store().get_build(both.build.key) == both.build


def test_a_holder_that_goes_on_for_long_and_then_dies(node: Client, reports: Reports) -> None:
    one, store = draft("a"), node.reach_store()
    wanted = LeasesWanted(holder="killed", keys=(one.subject.key,), seconds=60.0)
    (lease,) = store.take_leases(wanted).granted
    assert node.publisher.submit(Publication(artifacts=(one,)))
    assert reports.next().left == (one.subject.key,)
    for seconds in (60.0, 60.0, 1.0):
        assert store.renew_leases(Heartbeat(leases=(lease,), seconds=seconds)).keys == (lease.key,)
    assert reports.next().created == 1


def test_who_publishes_meanwhile_was_first(node: Client, reports: Reports, tmp_path: Path) -> None:
    both = publication("a", "b", namespace=node.settings.namespace)
    one = both.artifacts[0]
    options: dict[str, Any] = {"url": node.settings.url, "namespace": node.settings.namespace}
    with client(tmp_path / "other", lease_s=600.0, **options) as other:
        other.leases.take([one.subject.key])
        assert node.publisher.submit(both)
        assert reports.next().left == (one.subject.key,)
        assert other.publisher.publish_now(Publication(artifacts=(one,))).created == 1
    # What is left of it are the names, which the other one doesn't know.
    report = reports.next()
    assert (report.created, report.reproduced, report.left) == (0, 0, ())
    assert both.build is not None
    assert report.build == both.build.key


def test_it_is_in_nobodys_way(node: Client, reports: Reports) -> None:
    held = [draft("a"), draft("b")]
    hold(node, *(each.subject.key for each in held), seconds=600.0)
    for each in held:
        assert node.publisher.submit(Publication(artifacts=(each,)))
    node.leases.take([draft("c").subject.key])
    assert node.publisher.submit(Publication(artifacts=(draft("c"),)))
    assert node.publisher.drain(60)
    assert [reports.next().created for _ in range(3)] == [0, 0, 1]
    assert not node.leases.any
    assert node.publisher.close(0.0), "nor in the way of the end"


def test_what_comes_later_isnt_behind_what_came_before(
    node: Client, reports: Reports, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("inductory_client.held.WAIT_S", 0.5)
    for name, seconds in (("a", 600.0), ("b", 1.0)):
        hold(node, draft(name).subject.key, seconds=seconds)
        assert node.publisher.submit(Publication(artifacts=(draft(name),)))
    assert [reports.next().created for _ in range(3)] == [0, 0, 1]


def test_what_waits_is_bounded(
    node: Client, reports: Reports, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr("inductory_client.held.BYTES_MAX", 0)
    hold(node, draft("a").subject.key, seconds=600.0)
    with caplog.at_level("INFO", "inductory"):
        assert node.publisher.submit(Publication(artifacts=(draft("a"),)))
        assert node.publisher.drain(60)
    assert "something is left to them" in caplog.text
    assert node.publisher._held._thread is None


def test_its_thread_ends_with_the_client(node: Client, reports: Reports) -> None:
    hold(node, draft("a").subject.key, seconds=600.0)
    assert node.publisher.submit(Publication(artifacts=(draft("a"),)))
    reports.next()
    assert node.publisher.drain(60)
    thread = node.publisher._held._thread
    assert thread is not None
    node.close()
    thread.join(60)
    assert not thread.is_alive()
