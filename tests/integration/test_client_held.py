"""What is published in the background while another process has the lease of its key."""

from __future__ import annotations

import threading
from collections.abc import Collection, Iterator
from pathlib import Path
from typing import Any

import pytest
from client_samples import client, draft, publication
from inductory_client.client import Client
from inductory_client.contract.digest import digest_of
from inductory_client.contract.errors import NotFound
from inductory_client.contract.lease import LeasesWanted
from inductory_client.publication import Publication
from inductory_client.publish import PublicationReport
from store_process import StoreProcess

LEASE_S = 2.0


@pytest.fixture(scope="module")
def store_url(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    with StoreProcess(tmp_path_factory.mktemp("store") / "data") as store:
        yield store.url


@pytest.fixture
def node(store_url: str, request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Client]:
    namespace = "client-held-" + digest_of(request.node.name.encode())[:12]
    with client(tmp_path / "node", url=store_url, namespace=namespace, lease_s=LEASE_S) as node:
        yield node


@pytest.fixture
def reports(node: Client, monkeypatch: pytest.MonkeyPatch) -> list[PublicationReport]:
    """What became of what the node published in the background."""
    told: list[PublicationReport] = []
    monkeypatch.setattr(node.publisher, "_done", told.append)
    return told


def hold(node: Client, *keys: str, seconds: float = LEASE_S) -> None:
    """Take leases that nobody renews, as a process does that is killed right after."""
    leased = node.reach_store().take_leases(LeasesWanted(holder="killed", keys=keys, seconds=seconds))
    assert len(leased.granted) == len(keys)


def test_what_a_dead_process_held_is_published_once_its_lease_is_over(
    node: Client, reports: list[PublicationReport]
) -> None:
    both = publication("a", "b", namespace=node.settings.namespace)
    keys = [each.subject.key for each in both.artifacts]
    hold(node, keys[0])
    node.leases.take(keys)
    assert node.publisher.submit(both)
    assert node.publisher.drain(60)
    (report,) = reports
    assert (report.created, report.reproduced, report.left) == (1, 1, ())
    assert both.build is not None
    assert node.reach_store().get_build(both.build.key) == both.build


def test_what_a_living_process_holds_is_left_to_it(
    node: Client, reports: list[PublicationReport], tmp_path: Path
) -> None:
    one = draft("a")
    options: dict[str, Any] = {"url": node.settings.url, "namespace": node.settings.namespace}
    with client(tmp_path / "other", lease_s=LEASE_S, **options) as other:
        other.leases.take([one.subject.key])
        assert node.publisher.submit(Publication(artifacts=(one,)))
        assert node.publisher.drain(60)
        assert [report.left for report in reports] == [(one.subject.key,)]
        assert other.publisher.publish_now(Publication(artifacts=(one,))).created == 1


def test_who_publishes_meanwhile_was_first(
    node: Client, reports: list[PublicationReport], tmp_path: Path
) -> None:
    one = draft("a")
    options: dict[str, Any] = {"url": node.settings.url, "namespace": node.settings.namespace}
    with client(tmp_path / "other", lease_s=600.0, **options) as other:
        other.leases.take([one.subject.key])
        assert node.publisher.submit(Publication(artifacts=(one,)))
        assert other.publisher.publish_now(Publication(artifacts=(one,))).created == 1
        assert node.publisher.drain(60)
    (report,) = reports
    assert (report.created, report.reproduced, report.left) == (0, 1, ())


def test_it_is_in_nobodys_way(node: Client, reports: list[PublicationReport]) -> None:
    """What was queued behind it is published first, and its leases don't wait."""
    held, gate = draft("a"), threading.Event()
    hold(node, held.subject.key, seconds=600.0)

    def make() -> Publication:
        gate.wait()
        return Publication(artifacts=(held,))

    assert node.publisher.submit_later(make, 0)
    for name in "bc":
        node.leases.take([draft(name).subject.key])
        assert node.publisher.submit(Publication(artifacts=(draft(name),)))
    gate.set()
    assert node.publisher.drain(60)
    assert [report.created for report in reports] == [1, 1, 0]
    assert not node.leases.any


def test_the_end_of_the_process_isnt_put_off(node: Client, monkeypatch: pytest.MonkeyPatch) -> None:
    one, waits = draft("a"), threading.Event()
    hold(node, one.subject.key, seconds=600.0)
    wait = node.leases.wait

    def told(keys: Collection[str], until: float) -> object:
        waits.set()
        return wait(keys, until)

    monkeypatch.setattr(node.leases, "wait", told)
    assert node.publisher.submit(Publication(artifacts=(one,)))
    assert waits.wait(60)
    thread = node.publisher._background._thread
    node.publisher.close(0.0)
    node.leases.close()
    assert thread is not None
    thread.join()
    with pytest.raises(NotFound):
        node.reach_store().get_artifact(one.subject.key)
