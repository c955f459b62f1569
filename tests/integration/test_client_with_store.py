"""The client against a real store: publish here, fetch there."""

from __future__ import annotations

import signal
import subprocess
import sys
import uuid
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from client_samples import TARGET, FakeClock, client, draft, publication, signed, wanted
from inductory_client.breaker import CircuitBreaker
from inductory_client.client import Client
from inductory_client.contract.digest import digest_of
from inductory_client.contract.errors import (
    BreakerOpen,
    DeadlineExceeded,
    NotFound,
    TargetMismatch,
    UntrustedSigner,
)
from inductory_client.contract.target import Target
from inductory_client.contract.wire import ArtifactWanted, Event
from inductory_client.deadline import Deadline
from inductory_client.keyfiles import public_line
from inductory_client.publication import Publication
from inductory_client.transport import HttpStore
from misbehaving import refused
from store_process import StoreProcess

LONG_S = 60.0

BUILDER = """
import os, signal, sys
from pathlib import Path

tests, machine, url, namespace, config_dir = sys.argv[1:6]
sys.path.insert(0, tests)
from client_samples import client, publication

builder = client(Path(machine), url=url, namespace=namespace, config_dir=config_dir)
"""
"""A builder in a process of its own; what it does comes behind."""

KILLED = """
def kill_at(done, total):
    if done >= int(sys.argv[6]):
        os.kill(os.getpid(), signal.SIGKILL)

builder.publisher.publish_now(publication("k1", "k2", model="killed", namespace=namespace), kill_at)
"""


class Machines:
    """Machines in a namespace of this test's own. They share one signing key, but no cache."""

    def __init__(self, folder: Path, url: str) -> None:
        self._folder = folder
        self._url = url
        self._namespace = f"t-{uuid.uuid4().hex[:12]}"
        self._made: list[Client] = []

    def __call__(self, machine: str, **overrides: Any) -> Client:
        places = {"config_dir": self._folder / "config", "namespace": self._namespace, "url": self._url}
        made = client(self._folder / machine, **{**places, "store_deadline_s": LONG_S, **overrides})
        self._made.append(made)
        return made

    def publication(self, *names: str, model: str = "a small model") -> Publication:
        return publication(*names, model=model, namespace=self._namespace)

    def close(self) -> None:
        for each in self._made:
            each.close()


@pytest.fixture
def make(tmp_path: Path, store_url: str) -> Iterator[Machines]:
    machines = Machines(tmp_path, store_url)
    yield machines
    machines.close()


def payloads(*names: str) -> dict[str, bytes]:
    return {draft(name).subject.key: draft(name).blobs[0].data for name in names}


def fetch(where: Client, *names: str) -> Any:
    return where.fetch(wanted(*(draft(name) for name in names)), TARGET)


def loaded(fetched: Any) -> dict[str, bytes]:
    return {
        key: piece.blobs[piece.artifact.subject.loaded[0].digest] for key, piece in fetched.pieces.items()
    }


def test_what_one_machine_publishes_another_loads(make: Machines) -> None:
    report = make("builder").publisher.publish_now(make.publication("sent", "too"))
    assert (report.created, report.blobs, report.blobs_sent, report.stored) == (2, 7, 7, True)
    assert report.blob_bytes > 0
    assert report.manifest is not None
    assert report.build is not None

    node = make("node")
    fetched = fetch(node, "sent", "too", "never made")
    assert fetched.error is None
    assert loaded(fetched) == payloads("sent", "too")
    assert [miss.key for miss in fetched.misses] == [draft("never made").subject.key]
    assert fetched.bytes_moved > 0
    assert fetched.refused == {}


def test_a_second_push_moves_nothing(make: Machines) -> None:
    first = make("builder").publisher.publish_now(make.publication("a", "b"))
    steps: list[tuple[int, int]] = []
    again = make("other").publisher.publish_now(make.publication("a", "b"), lambda *step: steps.append(step))
    assert (again.blobs_sent, again.blob_bytes, again.reproduced, again.created) == (0, 0, 2, 0)
    assert (again.manifest, again.build) == (first.manifest, first.build)
    assert steps[-1] == (11, 11)


def test_other_bytes_for_a_key_are_counted_and_the_first_stay(make: Machines) -> None:
    make("builder").publisher.publish_now(Publication(artifacts=(draft("a"),)))
    other = draft("a", payload=b"other bytes")
    report = make("other").publisher.publish_now(Publication(artifacts=(other,)))
    assert report.different == 1
    assert loaded(fetch(make("node"), "a")) == payloads("a")


def test_a_warm_restart_needs_no_store(make: Machines) -> None:
    make("builder").publisher.publish_now(make.publication("a", "b"))
    assert len(fetch(make("node"), "a", "b").pieces) == 2
    with refused() as url:
        restarted = fetch(make("node", url=url), "a", "b")
    assert loaded(restarted) == payloads("a", "b")
    assert (restarted.bytes_moved, restarted.error) == (0, None)


def test_with_the_store_down_artifacts_stay_here(make: Machines) -> None:
    with refused() as url:
        builder = make("builder", url=url, drain_s=0.0)
        assert builder.publisher.submit(make.publication("a"))
        keys = wanted(draft("a"))
        builder.publisher.drain(LONG_S)
    restarted = make("builder", url="").fetch(keys, TARGET)
    assert loaded(restarted) == payloads("a")
    assert restarted.error is None


def test_publishing_in_the_background_ends_with_the_process(make: Machines, tmp_path: Path) -> None:
    """The process submits and returns from its main module at once; the exit waits for the upload."""
    builder = make("builder")
    builder.signing_key()
    here = builder.settings
    tests = str(Path(__file__).parents[1])
    arguments = [tests, str(tmp_path / "short"), str(here.url), here.namespace, str(here.config_dir)]
    submit = "assert builder.publisher.submit(publication('a', 'b', namespace=namespace))"
    subprocess.run([sys.executable, "-c", BUILDER + submit, *arguments], check=True)
    assert loaded(fetch(make("node"), "a", "b")) == payloads("a", "b")


def test_a_build_comes_in_one_stream(make: Machines) -> None:
    published = make("builder").publisher.publish_now(make.publication("a", "b"))
    assert published.build is not None
    node = make("node")
    report = node.pull_build(published.build)
    assert (report.artifacts, report.refused, report.build.key) == (2, {}, published.build)
    assert report.blobs == 4, "a payload and a native file of each; what is there to be read stays there"
    assert 0 < report.bytes_moved < report.bytes_raw
    assert [manifest.id for manifest in report.manifests] == [published.manifest]
    with refused() as url:
        assert loaded(fetch(make("node", url=url), "a", "b")) == payloads("a", "b")
    with pytest.raises(NotFound):
        node.pull_build("ab" * 32)


def test_a_foreign_signer_is_refused_until_it_is_trusted(make: Machines, tmp_path: Path) -> None:
    builder = make("builder", config_dir=tmp_path / "builder" / "config")
    builder.publisher.publish_now(make.publication("a"))
    (key,) = payloads("a")

    node = make("node")
    fetched = fetch(node, "a")
    assert fetched.pieces == {}
    assert isinstance(fetched.refused[key], UntrustedSigner)
    assert node.cas.artifact(key) is None

    public = tmp_path / "builder.pub"
    public.write_text(public_line(builder.signing_key().public_key, "builder"))
    assert loaded(fetch(make("node", trusted_keys=[public]), "a")) == payloads("a")


def test_a_pull_records_only_what_a_trusted_key_signed(make: Machines, tmp_path: Path) -> None:
    builder = make("builder", config_dir=tmp_path / "builder" / "config")
    published = builder.publisher.publish_now(make.publication("a"))
    assert published.build is not None
    node = make("node")
    report = node.pull_build(published.build)
    assert report.artifacts == 0
    assert [type(error) for error in report.refused.values()] == [UntrustedSigner]
    assert node.cas.scan().artifacts == 0


def test_who_comes_second_is_told_once_whom_to_trust(
    make: Machines, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    """The store keeps the first signature for a key, whoever publishes the same bytes later."""
    first = make("first", config_dir=tmp_path / "first" / "config")
    assert first.publisher.publish_now(make.publication("a", "b")).untrusted == ()
    signer = first.signing_key().signer
    second = make("second")
    assert second.publisher.publish_now(make.publication("a", "b")).untrusted == (signer,)
    second.publisher.publish_now(make.publication("a", "b"))
    (warned,) = [record.getMessage() for record in caplog.records if record.levelname == "WARNING"]
    assert signer[:12] in warned
    assert "trusted keys" in warned

    public = tmp_path / "first.pub"
    public.write_text(public_line(first.signing_key().public_key, "first"))
    trusting = make("third", trusted_keys=[public])
    assert trusting.publisher.publish_now(make.publication("a", "b")).untrusted == ()


def test_another_target_is_refused_by_its_factors(make: Machines) -> None:
    make("builder").publisher.publish_now(make.publication("a"))
    elsewhere = Target({**TARGET.factors, "cpu.isa": "neon"})
    for node in (make("node"), make("builder")):  # from the store, and from the local CAS
        fetched = node.fetch(wanted(draft("a")), elsewhere)
        (error,) = fetched.refused.values()
        assert isinstance(error, TargetMismatch)
        assert "cpu.isa: neon here, avx2 there" in str(error)
        assert fetched.pieces == {}


def test_a_miss_is_explained_by_the_nearest(make: Machines) -> None:
    make("builder").publisher.publish_now(make.publication("a"))
    target = Target({**TARGET.factors, "cpu.isa": "neon"})
    there = draft("a", target=target)
    (miss,) = make("node").fetch(wanted(there), target).misses
    assert miss.nearest is not None
    assert [difference.name for difference in miss.nearest.differences] == ["cpu.isa"]


def test_large_blobs_come_one_by_one(make: Machines) -> None:
    import random

    payload = random.Random(1).randbytes(300_000)  # too large, packed, to travel inside the answer
    make("builder").publisher.publish_now(Publication(artifacts=(draft("a", payload=payload),)))
    fetched = fetch(make("node"), "a")
    assert list(loaded(fetched).values()) == [payload]
    assert fetched.bytes_moved >= len(payload)


def test_many_artifacts_are_asked_in_batches(make: Machines) -> None:
    names = [f"n{n}" for n in range(3)]
    builder = make("builder")
    builder.publisher.publish_now(Publication(artifacts=tuple(draft(name) for name in names)))
    unknown = [ArtifactWanted(key=digest_of(b"%d" % n)) for n in range(2500)]
    fetched = make("node").fetch([*unknown, *wanted(*(draft(name) for name in names))], TARGET)
    assert fetched.error is None
    assert len(fetched.misses) == 2500
    assert len(fetched.pieces) == 3


def test_nothing_is_sent_where_publishing_is_off(make: Machines) -> None:
    report = make("builder", publish=False).publisher.publish_now(make.publication("a"))
    assert not report.stored
    assert [miss.key for miss in fetch(make("node"), "a").misses] == list(payloads("a"))


def test_events_reach_the_store(make: Machines) -> None:
    node = make("node")
    fetch(node, "never made")
    node.telemetry.record(Event(kind="compile", at=0.0, count=1, seconds=1.0))
    assert node.telemetry.drain(LONG_S)
    assert (node.telemetry.lost, node.telemetry.dropped) == (0, 0)


def test_the_store_is_looked_up_page_by_page(make: Machines) -> None:
    builder = make("builder")
    published = builder.publisher.publish_now(make.publication("a", "b", "c", model="Tiny"))
    store = builder.reach_store()
    assert store.ready().status == "ok"
    found, cursor = [], None
    while True:
        page = store.lookup({"backend": "inductor", "shape": "1-16384", "limit": "2"}, cursor)
        found += page.entries
        cursor = page.next
        if cursor is None:
            break
    assert {entry.artifact for entry in found} == set(payloads("a", "b", "c"))
    assert published.manifest is not None
    assert published.build is not None
    assert store.get_manifest(published.manifest).id == published.manifest
    assert store.get_build(published.build).model == "Tiny"
    assert [build.key for build in store.builds().builds] == [published.build]
    artifact = store.get_artifact(draft("a").subject.key)
    builder.keyring().check(artifact)
    assert artifact == signed(draft("a"), builder.signing_key())


def test_killing_a_publisher_leaves_no_name_without_bytes(make: Machines, tmp_path: Path) -> None:
    """Killed after every possible step in turn; whatever the store then names, it has."""
    here = make("builder").settings
    make("builder").signing_key()
    tests = str(Path(__file__).parents[1])
    arguments = [tests, str(tmp_path / "killed"), str(here.url), here.namespace, str(here.config_dir)]
    for step in (1, 3, 7, 8, 9, 10):
        killed = subprocess.run([sys.executable, "-c", BUILDER + KILLED, *arguments, str(step)], check=False)
        assert killed.returncode == -9
        _check_that_all_names_have_bytes(make(f"reader-{step}"))
    make("builder").publisher.publish_now(make.publication("k1", "k2", model="killed"))
    assert loaded(fetch(make("node"), "k1", "k2")) == payloads("k1", "k2")


def _check_that_all_names_have_bytes(reader: Client) -> None:
    store = reader.reach_store()
    named = {entry.artifact for entry in store.lookup({"limit": "500"}).entries}
    for build in store.builds().builds:
        for entry in store.get_build(build.key).entries:
            manifest = store.get_manifest(entry.manifest)
            named |= {each.artifact for each in manifest.entries}
            assert store.missing_blobs(each.digest for each in manifest.documents) == set()
    for key in named:
        artifact = store.get_artifact(key)
        assert store.missing_blobs(each.digest for each in artifact.subject.descriptors) == set()
    fetched = reader.fetch([ArtifactWanted(key=key) for key in named], TARGET)
    assert set(fetched.pieces) == named


def test_a_store_that_hangs_is_left_alone_until_it_wakes(tmp_path: Path) -> None:
    clock = FakeClock()
    with StoreProcess(tmp_path / "store") as process:
        store = HttpStore(process.url, breaker=CircuitBreaker(3, 15.0, clock))
        assert store.ready().status == "ok"
        process.process.send_signal(signal.SIGSTOP)
        try:
            for _ in range(3):
                with pytest.raises(DeadlineExceeded):
                    store.ready(Deadline(0.1))
            clock.pass_by(14)
            with pytest.raises(BreakerOpen):
                store.ready()
        finally:
            process.process.send_signal(signal.SIGCONT)
        with pytest.raises(BreakerOpen):
            store.ready()
        clock.pass_by(1)
        assert store.ready().status == "ok"
        assert store.breaker.state == "closed"
