"""Upstreams that are away, silent, broken or lying: a pull-through store serves what it has, and no lie."""

from __future__ import annotations

import random
import select
import signal
import socket
import threading
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack, contextmanager
from pathlib import Path

import pytest
from inductory_client.contract import wire
from inductory_client.contract.blob import pack
from inductory_client.contract.digest import digest_of
from inductory_client.contract.lease import KeysAwaited, LeasesWanted, Standing
from inductory_store.blobs.upload_id import new_upload_id
from misbehaving import Misbehaving, always, answer, dripping, refused, silent
from s3_proxy import Asked, Fault, S3Proxy, cut, everything, flip, hang, hang_up, refuse, stall
from slow_sender import half_sent
from store_messages import Talk, artifact, build, descriptor, manifest, problem
from store_process import StoreProcess

KNOWN, NEW = (random.Random(seed).randbytes(100_000) for seed in (1, 2))
"""Too large to travel inside an answer to `artifacts:resolve`."""
TIMEOUT_S = "0.5"


@pytest.fixture(scope="module")
def upstream(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Talk]:
    """A store with two artifacts, a build of one of them, and a larger build of both."""
    folder = tmp_path_factory.mktemp("upstream") / "data"
    with StoreProcess(folder) as store, talking_to(store.url) as talk:
        known, new = talk.publish(KNOWN, "known"), talk.publish(NEW, "new")
        for name, parts in (("small", [known]), ("large", [known, new])):
            captured = manifest(parts, name)
            assert talk.put_manifest(captured).is_success
            assert talk.put_build(build([captured], "default", name)).is_success
        yield talk


KNOWN_KEY, NEW_KEY = (artifact([descriptor(d)], g).key for d, g in ((KNOWN, "known"), (NEW, "new")))
SMALL, LARGE = (build([], "default", name).key for name in ("small", "large"))


@pytest.fixture
def way(upstream: Talk) -> Iterator[S3Proxy]:
    with S3Proxy(upstream.url) as proxy:
        yield proxy


@contextmanager
def talking_to(url: str) -> Iterator[Talk]:
    talk = Talk(url, "default")
    with talk.http:
        yield talk


@contextmanager
def pulling_from(url: str, folder: Path) -> Iterator[tuple[StoreProcess, Talk]]:
    settings = {"INDUCTORY_STORE_UPSTREAM_URL": url, "INDUCTORY_STORE_UPSTREAM_TIMEOUT_S": TIMEOUT_S}
    with StoreProcess(folder / "near", settings) as store, talking_to(store.url) as talk:
        yield store, talk


@pytest.fixture
def near(way: S3Proxy, tmp_path: Path) -> Iterator[Talk]:
    """A pull-through store that has the small build."""
    with pulling_from(way.url, tmp_path) as (_, talk):
        assert talk.http.get(f"/v1/builds/{SMALL}/bundle").is_success
        yield talk


def bundle(talk: Talk, key: str) -> int:
    return talk.http.get(f"/v1/builds/{key}/bundle").status_code


def for_a_blob(asked: Asked) -> bool:
    return asked.method == "GET" and asked.path.startswith("/v1/blobs/")


AWAY: dict[str, Fault] = {
    "it hangs": hang,
    "it hangs up": hang_up,
    "it fails": refuse(b"500 Internal Server Error", "InternalError"),
    "it is overloaded": refuse(b"503 Service Unavailable", "SlowDown"),
}


@pytest.mark.parametrize("fault", AWAY.values(), ids=AWAY.keys())
def test_what_is_here_is_served_and_the_rest_is_a_miss(near: Talk, way: S3Proxy, fault: Fault) -> None:
    with way.spoiling(everything, fault):
        found = near.resolve(KNOWN_KEY, NEW_KEY)
        assert ([each.key for each in found.hits], [each.key for each in found.misses]) == (
            [KNOWN_KEY],
            [NEW_KEY],
        )
        assert (bundle(near, SMALL), bundle(near, LARGE)) == (200, 404)
        assert near.get_blob(KNOWN).content == KNOWN
        problem(near.get_blob(NEW), 404, "not_found")
        problem(near.put_blob(b"published meanwhile"), 503, "upstream_unavailable")
        wanted = wire.encode(LeasesWanted(holder="me", keys=(NEW_KEY,), seconds=60))
        problem(near.http.post("/v1/leases", content=wanted), 503, "upstream_unavailable")
        waiting = wire.encode(KeysAwaited(keys=(NEW_KEY,), wait_s=60))
        problem(near.http.post("/v1/leases:wait", content=waiting), 503, "upstream_unavailable")
        assert [each["key"] for each in near.http.get("/v1/builds").json()["builds"]] == [SMALL]
        ready = near.http.get("/readyz")
        assert (ready.status_code, ready.json()["status"]) == (200, "ok")
        assert ready.json()["checks"]["upstream"] != "ok"
        page = near.http.get("/")
        assert "which is of no use now" in page.text
        asked = len(way.seen)
        for _ in range(20):
            near.resolve(NEW_KEY)
        assert len(way.seen) - asked <= 2, "an upstream that fails is left alone"


def test_an_upstream_that_comes_back_is_asked_again(near: Talk, way: S3Proxy, tmp_path: Path) -> None:
    with way.spoiling(everything, hang_up):
        for _ in range(3):
            assert near.resolve(NEW_KEY).hits == ()
    while not near.resolve(NEW_KEY).hits:  # some seconds
        assert len(way.seen) < 100
    assert bundle(near, LARGE) == 200


BROKEN: dict[str, Fault] = {"cut short": cut, "stalled": stall}


@pytest.mark.parametrize("fault", BROKEN.values(), ids=BROKEN.keys())
def test_half_a_blob_is_no_blob(near: Talk, way: S3Proxy, fault: Fault) -> None:
    with way.spoiling(for_a_blob, fault):
        problem(near.get_blob(NEW), 404, "not_found")
        assert near.resolve(NEW_KEY).hits == ()
    before = near.http.get("/v1/stats").json()
    assert (before["blobs"], before["artifacts"]) == (1, 1)


def lie(data: bytes) -> Fault:
    """Answer with another blob than was asked for, and its size."""

    def fault(_: Asked, sock: object, __: S3Proxy) -> None:
        headers = b"Inductory-Size: %d\r\nConnection: close\r\n" % len(data)
        sock.sendall(answer(data, headers=headers))  # type: ignore[attr-defined]

    return fault


LIES: dict[str, Fault] = {
    "a flipped bit": flip,
    "another blob": lie(KNOWN),
    "another size": lie(NEW[1:]),
    "no size": refuse(b"200 OK", "Fine"),
}


@pytest.mark.parametrize("fault", LIES.values(), ids=LIES.keys())
def test_wrong_bytes_are_refused_and_not_kept(near: Talk, way: S3Proxy, fault: Fault) -> None:
    with way.spoiling(for_a_blob, fault):
        problem(near.get_blob(NEW), 502, "upstream_wrong")
        problem(near.http.get(f"/v1/artifacts/{NEW_KEY}"), 502, "upstream_wrong")
        problem(near.http.get(f"/v1/builds/{LARGE}/bundle"), 502, "upstream_wrong")
        assert [each.key for each in near.resolve(KNOWN_KEY, NEW_KEY).hits] == [KNOWN_KEY]
    stats = near.http.get("/v1/stats").json()
    assert (stats["builds"], stats["blobs"], stats["artifacts"]) == (1, 1, 1)
    assert near.get_blob(NEW).content == NEW


@pytest.mark.parametrize("which", ["artifact", "signature", "manifest", "build", "message"])
def test_names_that_are_others_are_refused(upstream: Talk, tmp_path: Path, which: str) -> None:
    """Another artifact, manifest or build than was asked for, a signature of something else, and nonsense."""
    known, new = (
        wire.decode(upstream.http.get(f"/v1/artifacts/{key}").content, wire.Artifact)
        for key in (KNOWN_KEY, NEW_KEY)
    )
    forged = wire.Artifact(subject=new.subject, signature=known.signature, provenance=new.provenance)
    blobs = {digest_of(NEW): pack(NEW)}
    other = manifest([known], "small")
    path, told = {
        "artifact": (f"/v1/artifacts/{NEW_KEY}", wire.Resolved(hits=(known,), misses=())),
        "signature": (f"/v1/artifacts/{NEW_KEY}", wire.Resolved(hits=(forged,), misses=(), blobs=blobs)),
        "manifest": (f"/v1/manifests/{'ab' * 32}", other),
        "build": (f"/v1/builds/{LARGE}", build([other], "default", "small")),
        "message": (f"/v1/builds/{LARGE}", wire.Events(events=())),
    }[which]
    with (
        Misbehaving(always(answer(wire.encode(told)))) as liar,
        pulling_from(liar.url, tmp_path) as (_, talk),
    ):
        problem(talk.http.get(path), 502, "upstream_wrong")
        assert talk.resolve(NEW_KEY).hits == ()
        stats = talk.http.get("/v1/stats").json()
        assert (stats["builds"], stats["artifacts"]) == (0, 0)


def test_keys_that_upstream_says_nothing_of_keep_nobody_waiting(tmp_path: Path) -> None:
    with (
        Misbehaving(always(answer(wire.encode(Standing())))) as liar,
        pulling_from(liar.url, tmp_path) as (_, talk),
    ):
        waiting = wire.encode(KeysAwaited(keys=(NEW_KEY,), wait_s=60))
        problem(talk.http.post("/v1/leases:wait", content=waiting), 502, "upstream_wrong")


def test_slow_publishers_keep_no_lease_waiting(near: Talk, way: S3Proxy, upstream: Talk) -> None:
    """Nor the lists, nor those who ask which blobs are missing."""
    slow = f"/v1/blobs/{digest_of(b'what never arrives')}"
    with ExitStack() as stack:
        senders = [stack.enter_context(half_sent(near.url, "PUT", slow, b"x", 1000)) for _ in range(16)]
        while sum(asked.method == "PUT" for asked in way.seen) < len(senders):
            assert near.http.get("/healthz").is_success
        wanted = wire.encode(LeasesWanted(holder="me", keys=(digest_of(b"slow"),), seconds=60))
        assert near.http.post("/v1/leases", content=wanted).status_code == 200
        assert near.lacks(b"what never arrives")
        assert near.http.get("/v1/builds").json() == upstream.http.get("/v1/builds").json()
        assert not select.select(senders, [], [], 0)[0], "all of them are still being received"


def test_an_upload_may_take_as_long_to_finish_as_a_blob(near: Talk, way: S3Proxy) -> None:
    """Upstream reads it back from its bucket first."""
    go = threading.Event()

    def finishing(asked: Asked) -> bool:
        return ":finish" in asked.path

    def late(asked: Asked, sock: socket.socket, server: S3Proxy) -> None:
        if not finishing(asked):
            server.over.wait()
        go.wait(60)
        for part in server.pass_on(asked):
            sock.sendall(part)

    path = f"/v1/blobs/{digest_of(NEW)}/upload/{new_upload_id(1 << 31, len(NEW))}:finish"
    with way.spoiling(everything, late), ThreadPoolExecutor(1) as pool:
        finished = pool.submit(near.http.post, path)
        while not any(map(finishing, way.seen)):
            assert near.http.get("/healthz").is_success
        # This one waits for as long as upstream may usually take.
        problem(near.http.post("/v1/blobs:missing", json={"digests": []}), 503, "upstream_unavailable")
        go.set()
        problem(finished.result(), 404, "not_found")  # upstream's own word: it has no bucket
    assert near.lacks(b"what was asked meanwhile"), "nobody was kept from asking"


@pytest.mark.parametrize(
    "handler", [silent, dripping(b"X", b"HTTP/1.1 200 OK\r\nX-Drip: ")], ids=["silent", "dripping"]
)
def test_nobody_hangs_and_it_ends_when_told(tmp_path: Path, handler: object) -> None:
    """A server that never finishes an answer, asked by many at once; the store stops in the middle of it."""
    with Misbehaving(handler) as never, pulling_from(never.url, tmp_path) as (store, talk):  # type: ignore[arg-type]
        with ThreadPoolExecutor(16) as pool:
            found = list(pool.map(lambda _: talk.resolve(NEW_KEY).misses[0].key, range(64)))
        assert found == [NEW_KEY] * 64
        assert talk.http.get("/readyz").status_code == 200
        assert store.stop(signal.SIGTERM) in (0, -signal.SIGTERM)


def test_a_store_starts_while_upstream_is_away(tmp_path: Path) -> None:
    with refused() as url, pulling_from(url, tmp_path) as (_, talk):
        assert talk.resolve(NEW_KEY).hits == ()
        assert bundle(talk, SMALL) == 404
        assert "Connection refused" in talk.http.get("/readyz").json()["checks"]["upstream"]


def test_lost_bytes_come_back_from_upstream(near: Talk, way: S3Proxy, tmp_path: Path) -> None:
    digest = digest_of(KNOWN)
    (resting,) = (tmp_path / "near").rglob(f"{digest}.zst")
    resting.unlink()
    assert near.get_blob(KNOWN).status_code == 503, "its loss is noticed when it is read"
    assert near.get_blob(KNOWN).content == KNOWN
    assert [each.key for each in near.resolve(KNOWN_KEY).hits] == [KNOWN_KEY]
