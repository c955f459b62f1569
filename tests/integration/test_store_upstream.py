"""Pull-through stores: a store that fetches from another one, once, and serves from its own disk."""

from __future__ import annotations

import random
import time
from collections import Counter
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import httpx
import pytest
from client_samples import TARGET, client, dispatched, draft, publication, wanted
from inductory_client.client import Client
from inductory_client.contract.build import BuildEntry
from inductory_client.contract.descriptor import PAYLOAD
from inductory_client.contract.lease import KeysAwaited, LeasesWanted
from inductory_client.deadline import Deadline
from inductory_client.fetch import Fetched
from inductory_client.publication import DraftBlob, Publication
from inductory_client.transport import HttpStore
from msgspec.structs import replace
from s3_proxy import S3Proxy
from store_messages import Talk, artifact, descriptor, problem
from store_process import StoreProcess

LONG_S = 60.0
NODES = 12


def pulling_from(url: str, folder: Path) -> StoreProcess:
    return StoreProcess(folder, {"INDUCTORY_STORE_UPSTREAM_URL": url})


@pytest.fixture
def near(way: S3Proxy, tmp_path: Path) -> Iterator[StoreProcess]:
    with pulling_from(way.url, tmp_path / "near") as store:
        yield store


class Machines:
    """A builder, and nodes that trust it."""

    def __init__(self, folder: Path) -> None:
        self._config = folder / "builder" / "config"
        self._folder = folder
        self._made: list[Client | HttpStore | httpx.Client] = []
        self.builder("")  # its key is there before anybody trusts it

    def builder(self, url: str) -> Client:
        made = self._client(f"builder-{len(self._made)}", url, config_dir=self._config)
        made.signing_key()
        return made

    def node(self, url: str) -> Client:
        return self._client(f"node-{len(self._made)}", url, trusted_keys=(self._config,))

    def asks(self, url: str) -> HttpStore:
        """The protocol's calls, on a store."""
        self._made.append(made := HttpStore(url))
        return made

    def talks(self, url: str) -> Talk:
        self._made.append((made := Talk(url, "default")).http)
        return made

    def close(self) -> None:
        for each in self._made:
            each.close()

    def _client(self, name: str, url: str, **overrides: Any) -> Client:
        made = client(self._folder / name, url=url, store_deadline_s=LONG_S, **overrides)
        self._made.append(made)
        return made


@pytest.fixture
def machines(tmp_path: Path) -> Iterator[Machines]:
    machines = Machines(tmp_path / "machines")
    yield machines
    machines.close()


def large(name: str) -> DraftBlob:
    """A payload that travels in no answer to `artifacts:resolve`."""
    return DraftBlob(PAYLOAD, "", random.Random(name).randbytes(200_000))


PLAIN = publication("a", "b")
PUBLISHED = dispatched(
    replace(
        PLAIN,
        artifacts=tuple(
            replace(d, blobs=(large(d.graph_digest or ""), *d.blobs[1:])) for d in PLAIN.artifacts
        ),
    )
)
assert PUBLISHED.build is not None
BUILD = PUBLISHED.build.key


def fetch(node: Client, published: Publication = PUBLISHED) -> Fetched:
    return node.fetch(wanted(*published.artifacts), TARGET)


def blobs_asked(way: S3Proxy) -> Counter[str]:
    return Counter(
        each.path for each in way.seen if each.method == "GET" and each.path.startswith("/v1/blobs/")
    )


def test_a_node_starts_warm_from_what_another_one_had_pulled(
    upstream: StoreProcess, way: S3Proxy, near: StoreProcess, machines: Machines
) -> None:
    machines.builder(upstream.url).publisher.publish_now(PUBLISHED)
    report = machines.node(near.url).pull_build(BUILD)
    assert (report.artifacts, report.refused) == (3, {})
    assert set(blobs_asked(way).values()) == {1}
    asked = len(way.seen)
    by_key = fetch(machines.node(near.url))
    assert (len(by_key.pieces), by_key.misses, by_key.error) == (3, (), None)
    assert len(way.seen) == asked, "all of it was here"
    upstream.kill()
    assert machines.node(near.url).pull_build(BUILD).artifacts == 3
    assert len(fetch(machines.node(near.url)).pieces) == 3
    ready = machines.asks(near.url).ready()
    assert ready.status == "ok", "it serves what it has"
    assert ready.checks["upstream"] != "ok"
    with pulling_from(way.url, near.data_dir.parent / "empty") as empty:
        fetched = fetch(machines.node(empty.url))
        assert (fetched.pieces, len(fetched.misses), fetched.error) == ({}, 3, None)


def test_what_is_asked_for_by_key_is_pulled_alone(
    upstream: StoreProcess, near: StoreProcess, machines: Machines
) -> None:
    machines.builder(upstream.url).publisher.publish_now(PUBLISHED)
    unknown = wanted(draft("unknown"))
    fetched = machines.node(near.url).fetch([*wanted(PUBLISHED.artifacts[0]), *unknown], TARGET)
    assert (len(fetched.pieces), len(fetched.misses), fetched.error) == (1, 1, None)
    assert machines.asks(near.url).stats().artifacts == 1


def test_documents_and_parts_are_read_through(
    upstream: StoreProcess, near: StoreProcess, machines: Machines
) -> None:
    machines.builder(upstream.url).publisher.publish_now(PUBLISHED)
    with httpx.Client(base_url=near.url) as http, httpx.Client(base_url=upstream.url) as there:
        document = f"/v1/builds/{BUILD}/documents/{PUBLISHED.manifest.manifest.id}/computation_graph.py"
        artifact = PUBLISHED.artifacts[0].subject
        paths = [
            document,
            f"/v1/builds/{BUILD}",
            f"/v1/manifests/{PUBLISHED.manifest.manifest.id}",
            f"/v1/artifacts/{artifact.key}",
            f"/v1/artifacts/{artifact.key}/agreement",
            f"/v1/blobs/{artifact.descriptors[0].digest}",
            "/v1/artifacts?limit=2",
            "/v1/builds",
        ]
        for path in paths:
            here, original = http.get(path), there.get(path)
            assert (here.status_code, here.content) == (200, original.content), path
        for path in ("/v1/builds/", "/v1/manifests/", "/v1/artifacts/", "/v1/blobs/"):
            missing = http.get(path + "ab" * 32)
            assert (missing.status_code, missing.json()["code"]) == (404, "not_found")
        partial = http.get(paths[5], headers={"Range": "bytes=1-3"})
        assert (partial.status_code, len(partial.content)) == (206, 3)


@pytest.mark.parametrize("ask", ["by build", "by key"])
def test_many_nodes_have_each_blob_fetched_once(
    upstream: StoreProcess, way: S3Proxy, near: StoreProcess, machines: Machines, ask: str
) -> None:
    machines.builder(upstream.url).publisher.publish_now(PUBLISHED)
    nodes = [machines.node(near.url) for _ in range(NODES)]
    start = (
        (lambda node: node.pull_build(BUILD).artifacts)
        if ask == "by build"
        else (lambda node: len(fetch(node).pieces))
    )
    with ThreadPoolExecutor(NODES) as pool:
        assert list(pool.map(start, nodes)) == [3] * NODES
    asked = blobs_asked(way)
    assert len(asked) >= 4, "two payloads and two sources at least"
    assert set(asked.values()) == {1}


def test_what_is_published_through_it_is_upstreams(
    upstream: StoreProcess, near: StoreProcess, machines: Machines
) -> None:
    report = machines.builder(near.url).publisher.publish_now(PUBLISHED)
    assert report.build == BUILD
    assert machines.node(upstream.url).pull_build(BUILD).artifacts == 3
    assert machines.asks(near.url).stats().artifacts == 0, "it has what was asked of it"
    assert len(fetch(machines.node(near.url)).pieces) == 3


def test_a_miss_is_forgotten_once_it_was_published_through_here(
    near: StoreProcess, machines: Machines
) -> None:
    node = machines.node(near.url)
    assert len(fetch(node).misses) == 3
    machines.builder(near.url).publisher.publish_now(PUBLISHED)
    assert len(fetch(node).pieces) == 3


def test_a_build_that_grew_through_here_is_read_whole(near: StoreProcess, machines: Machines) -> None:
    builder = machines.builder(near.url)
    builder.publisher.publish_now(PUBLISHED)
    assert len(machines.asks(near.url).get_build(BUILD).entries) == 1
    assert PUBLISHED.build is not None
    more = (*PUBLISHED.build.entries, BuildEntry(name="decode", manifest=PUBLISHED.manifest.manifest.id))
    builder.publisher.publish_now(replace(PUBLISHED, build=replace(PUBLISHED.build, entries=more)))
    assert [each.name for each in machines.asks(near.url).get_build(BUILD).entries] == ["forward", "decode"]


def test_leases_are_upstreams(way: S3Proxy, near: StoreProcess, machines: Machines, tmp_path: Path) -> None:
    """Whoever takes one near one store holds it for all, and who waits near another is told of what came."""
    value = artifact([descriptor(b"one")])
    with pulling_from(way.url, tmp_path / "other") as other:
        first, second = (machines.talks(each.url) for each in (near, other))
        mine, theirs = (
            machines.asks(talk.url).take_leases(LeasesWanted(holder=name, keys=(value.key,), seconds=60))
            for talk, name in ((first, "first"), (second, "second"))
        )
        assert (len(mine.granted), len(theirs.granted), theirs.held[0].key) == (1, 0, value.key)
        assert second.resolve(value.key).hits == ()
        with ThreadPoolExecutor(1) as pool:
            asked = KeysAwaited(keys=(value.key,), wait_s=60)
            waiting = pool.submit(machines.asks(other.url).await_keys, asked, Deadline(LONG_S))
            near.wait_until(lambda: any("leases:wait" in each.path for each in way.seen))
            first.put_blob(b"one")
            problem(second.put_artifact(value), 409, "lease_held")
            assert first.put_artifact(value, lease=mine.granted[0].token).status_code == 201
            assert waiting.result().published == (value.key,)
        assert second.resolve(value.key).hits == (value,)
        asked_late = LeasesWanted(holder="second", keys=(value.key,), seconds=60)
        assert machines.asks(other.url).take_leases(asked_late).published == (value.key,)


def test_chains_are_passed_and_circles_are_not(
    upstream: StoreProcess, machines: Machines, tmp_path: Path
) -> None:
    machines.builder(upstream.url).publisher.publish_now(PUBLISHED)
    with (
        pulling_from(upstream.url, tmp_path / "region") as region,
        pulling_from(region.url, tmp_path / "rack") as rack,
    ):
        assert machines.node(rack.url).pull_build(BUILD).artifacts == 3
        assert machines.asks(region.url).stats().artifacts == 3
        assert machines.asks(rack.url).ready().checks["upstream"] == "ok"


def test_a_store_that_pulls_from_itself_says_so(tmp_path: Path) -> None:
    with S3Proxy("http://127.0.0.1:9") as itself, pulling_from(itself.url, tmp_path / "data") as store:
        itself.lead_to(store.url)
        with httpx.Client(base_url=store.url, timeout=LONG_S) as http:
            for path in ("/v1/blobs/", "/v1/builds/"):
                answer = http.get(path + "ab" * 32)
                assert (answer.status_code, answer.json()["code"]) == (508, "upstream_loop")
            assert http.post("/v1/blobs:missing", json={"digests": []}).json()["code"] == "upstream_loop"
            ready = http.get("/readyz")
            assert ready.status_code == 200
            assert "circle" in ready.json()["checks"]["upstream"]


def test_events_stay_near_and_the_page_says_where_it_pulls_from(
    upstream: StoreProcess, near: StoreProcess, way: S3Proxy
) -> None:
    with httpx.Client(base_url=near.url) as http:
        event = {"kind": "hit", "at": time.time(), "count": 1}
        assert http.post("/v1/events", json={"events": [event]}).json() == {"stored": 1}
        assert not any("events" in each.path for each in way.seen)
        page = http.get("/").text
        assert way.url in page
        assert "which answers" in page
    assert "pulls from" not in httpx.get(upstream.url).text
