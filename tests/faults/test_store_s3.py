"""A bucket that fails in every way that buckets do: nothing is lost or served wrong, and it is told."""

from __future__ import annotations

import http.client
import random
import socket
import threading
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from pathlib import Path
from urllib.parse import urlsplit

import pytest
from bucket import OwnBucket
from inductory_client.contract import wire
from inductory_client.contract.blob import pack
from inductory_client.contract.digest import digest_of
from inductory_client.contract.lease import LeasesWanted
from inductory_store.blobs.s3_admission import TRIES_MAX
from replicas import wait_until
from s3_proxy import Asked, Fault, S3Proxy, cut, drip, everything, flip, hang, hang_up, reads, refuse, stall
from store_messages import Talk, problem
from store_process import StoreProcess

LARGE_BYTES = 12 << 20
"""Past what is verified before the first byte, and past what is sent at a time."""
IDENTITY = {"Accept-Encoding": "identity"}

failing = refuse(b"500 Internal Server Error", "InternalError")
overloaded = refuse(b"503 Slow Down", "SlowDown")
denied = refuse(b"403 Forbidden", "AccessDenied")
out_of_time = refuse(b"403 Forbidden", "RequestTimeTooSkewed")
full = refuse(b"507 Insufficient Storage", "InsufficientStorage")
over_quota = refuse(b"403 Forbidden", "QuotaExceeded")
untrailing = refuse(b"411 Length Required", "MissingContentLength")
no_bucket = refuse(b"404 Not Found", "NoSuchBucket")

nothing_here = refuse(b"404 Not Found", "404")
"""What isn't S3 at all may answer so."""

OUTAGES = {
    "failing": failing,
    "overloaded": overloaded,
    "denied": denied,
    "out of time": out_of_time,
    "no bucket": no_bucket,
    "no S3": nothing_here,
    "hanging": hang,
    "hanging up": hang_up,
}


@pytest.fixture(scope="module")
def module_bucket(shared_bucket: OwnBucket) -> OwnBucket:
    return shared_bucket.apart()


@pytest.fixture(scope="module")
def proxy(module_bucket: OwnBucket) -> Iterator[S3Proxy]:
    with S3Proxy(module_bucket.server.endpoint) as proxy:
        yield proxy


@pytest.fixture(scope="module")
def store(
    module_bucket: OwnBucket, proxy: S3Proxy, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[StoreProcess]:
    """A store that reaches its bucket through the proxy, and has little patience."""
    environ = {**module_bucket.through(proxy.url).environ, "INDUCTORY_STORE_S3_TIMEOUT_S": "1.5"}
    with StoreProcess(tmp_path_factory.mktemp("s3-faults") / "store", environ) as store:
        yield store


@pytest.fixture
def talk(store: StoreProcess, request: pytest.FixtureRequest) -> Iterator[Talk]:
    talk = Talk(store.url, "s3-" + digest_of(request.node.nodeid.encode())[:12])
    yield talk
    talk.http.close()


@pytest.fixture
def small(request: pytest.FixtureRequest) -> bytes:
    return random.Random(request.node.nodeid).randbytes(50_000)


@contextmanager
def holding(proxy: S3Proxy, when: Callable[[Asked], bool]) -> Iterator[list[Asked]]:
    """Have requests wait without a word while the block lasts, and break their connections then."""
    held: list[Asked] = []
    over = threading.Event()

    def hold(asked: Asked, _: socket.socket, __: S3Proxy) -> None:
        held.append(asked)
        over.wait()

    try:
        with proxy.spoiling(when, hold):
            yield held
    finally:
        over.set()


@pytest.mark.parametrize("fault", OUTAGES.values(), ids=OUTAGES)
def test_an_outage_is_told_and_nothing_is_taken_for_lost(
    store: StoreProcess, talk: Talk, proxy: S3Proxy, small: bytes, fault: Fault
) -> None:
    value = talk.publish(small)
    new = small[::-1]
    with proxy.spoiling(everything, fault):
        told = problem(talk.get_blob(small), 503, "storage_failed")
        problem(talk.put_blob(new), 503, "storage_failed")
        # A question to the catalog alone has its answer; and what is there is there.
        assert not talk.lacks(small)
        assert talk.lacks(new)
        ready = talk.http.get("/readyz")
        assert ready.status_code == 503
    assert "own words" not in told.detail + ready.text
    assert talk.get_blob(small).content == small
    assert talk.resolve(value.key).hits == (value,)
    problem(talk.get_blob(new), 404, "not_found")
    assert talk.put_blob(new).status_code == 201
    assert talk.get_blob(new).content == new
    assert talk.http.get("/readyz").status_code == 200


def test_a_silent_bucket_keeps_two_waiting_and_no_more(
    module_bucket: OwnBucket, proxy: S3Proxy, tmp_path: Path, small: bytes
) -> None:
    """A store whose threads all wait for a bucket would answer nothing at all."""
    with (
        StoreProcess(tmp_path / "store", module_bucket.through(proxy.url).environ) as patient,
        ThreadPoolExecutor(TRIES_MAX) as pool,
    ):
        talk = Talk(patient.url, "silent")
        talk.publish(small)
        with proxy.spoiling(everything, hang_up):
            problem(talk.get_blob(small), 503, "storage_failed")
        with holding(proxy, everything) as held:
            tries = [pool.submit(talk.get_blob, small) for _ in range(TRIES_MAX)]
            wait_until(lambda: len(held) == TRIES_MAX)
            assert "wasn't asked" in problem(talk.get_blob(small), 503, "storage_failed").detail
            assert "wasn't asked" in problem(talk.put_blob(small[::-1]), 503, "storage_failed").detail
            assert "wasn't asked" in talk.http.get("/readyz").text
            assert not talk.lacks(small)
            assert len(held) == TRIES_MAX
        # The connections break, and what is tried again finds the bucket back.
        assert [each.result().content for each in tries] == [small, small]
        assert talk.put_blob(small[::-1]).status_code == 201
        assert talk.http.get("/readyz").status_code == 200
        talk.http.close()


def test_readers_of_a_hanging_bucket_leave_threads_for_all_else(
    module_bucket: OwnBucket, proxy: S3Proxy, tmp_path: Path, small: bytes
) -> None:
    environ = {**module_bucket.through(proxy.url).environ, "INDUCTORY_STORE_S3_TIMEOUT_S": "60"}
    with StoreProcess(tmp_path / "store", environ) as store, ThreadPoolExecutor(64) as pool:
        talk = Talk(store.url, "readers")
        value = talk.publish(small)
        with holding(proxy, reads) as held:
            readers = [pool.submit(talk.get_blob, small) for _ in range(64)]
            wait_until(lambda: len(held) > 20)
            assert not talk.lacks(small)
            assert talk.http.get("/v1/artifacts").status_code == 200
            assert talk.http.get(f"/v1/artifacts/{value.key}").status_code == 200
            wanted = LeasesWanted(keys=(digest_of(b"wanted"),), holder="a", seconds=30)
            assert talk.http.post("/v1/leases", content=wire.encode(wanted)).status_code == 200
            assert len(held) <= 40
        told = [each.result() for each in readers]
        assert {each.status_code for each in told} <= {200, 503}
        assert talk.get_blob(small).content == small
        talk.http.close()


@pytest.mark.parametrize(
    ("fault", "words"),
    [
        (denied, "credentials and their rights"),
        (out_of_time, "clock"),
        (no_bucket, "the bucket isn't there"),
        (untrailing, "s3_checksums=when_required"),
        (failing, "the bucket failed"),
    ],
    ids=["denied", "out of time", "no bucket", "no trailing checksums", "failing"],
)
def test_readiness_says_in_words_what_is_wrong(
    store: StoreProcess, talk: Talk, proxy: S3Proxy, fault: Fault, words: str
) -> None:
    with proxy.spoiling(everything, fault):
        checks = wire.decode(talk.http.get("/readyz").content, wire.Status).checks
    assert words in checks["blobs"]
    assert checks["database"] == "ok"
    assert "own words" in store.log


@pytest.mark.parametrize("fault", [full, over_quota], ids=["full", "over its quota"])
def test_a_full_bucket_can_still_be_read(talk: Talk, proxy: S3Proxy, small: bytes, fault: Fault) -> None:
    talk.publish(small)
    with proxy.spoiling(lambda asked: asked.method == "PUT", fault):
        problem(talk.put_blob(small[::-1]), 507, "storage_full")
        assert talk.get_blob(small).content == small
    problem(talk.get_blob(small[::-1]), 404, "not_found")
    assert talk.put_blob(small[::-1]).status_code == 201


@pytest.mark.parametrize("fault", [failing, overloaded, hang_up], ids=["failing", "overloaded", "hanging up"])
def test_one_failure_is_tried_again_and_nobody_notices(
    talk: Talk, proxy: S3Proxy, small: bytes, fault: Fault
) -> None:
    failed: list[Asked] = []

    def first(asked: Asked) -> bool:
        if any(each[:2] == asked[:2] for each in failed):
            return False
        failed.append(asked)
        return True

    with proxy.spoiling(first, fault):
        assert talk.put_blob(small).status_code == 201
        assert talk.get_blob(small).content == small
    assert {each.method for each in failed} >= {"PUT", "GET"}


@pytest.mark.parametrize("headers", [IDENTITY, {"Accept-Encoding": "zstd"}, {"Range": "bytes=0-9"}], ids=str)
@pytest.mark.parametrize("fault", [cut, stall], ids=["cut", "stalled"])
def test_an_answer_of_200_that_ends_early_is_no_blob(
    talk: Talk, proxy: S3Proxy, small: bytes, fault: Fault, headers: dict[str, str]
) -> None:
    talk.publish(small)
    with proxy.spoiling(reads, fault):
        problem(talk.http.get(f"/v1/blobs/{digest_of(small)}", headers=headers), 503, "storage_failed")
    # The bytes at rest are whole, so the promise stands.
    assert not talk.lacks(small)
    assert talk.get_blob(small).content == small


@pytest.mark.parametrize("fault", [cut, stall, flip], ids=["cut", "stalled", "flipped"])
def test_a_large_answer_that_goes_wrong_breaks_off(
    store: StoreProcess, talk: Talk, proxy: S3Proxy, fault: Fault
) -> None:
    large = random.Random(talk.namespace).randbytes(LARGE_BYTES)
    talk.publish(large)
    with proxy.spoiling(reads, fault):
        connection = http.client.HTTPConnection(urlsplit(store.url).netloc, timeout=60)
        connection.request("GET", f"/v1/blobs/{digest_of(large)}", headers=IDENTITY)
        answer = connection.getresponse()
        assert answer.status == 200
        with pytest.raises((http.client.IncompleteRead, ConnectionResetError)):
            answer.read()
        connection.close()
    assert talk.get_blob(large).content == large


def test_bytes_that_drip_are_given_up(talk: Talk, proxy: S3Proxy, small: bytes) -> None:
    talk.publish(small)
    with proxy.spoiling(reads, drip):
        problem(talk.get_blob(small), 503, "storage_failed")
    assert talk.get_blob(small).content == small


def test_bytes_that_were_changed_on_the_way_are_not_served(talk: Talk, proxy: S3Proxy, small: bytes) -> None:
    value = talk.publish(small)
    with proxy.spoiling(reads, flip):
        problem(talk.get_blob(small), 503, "storage_failed")
        # Read again before it is promised again: as long as it comes damaged, it isn't there.
        problem(talk.get_blob(small), 404, "not_found")
    assert talk.get_blob(small).content == small
    assert talk.resolve(value.key).hits == (value,)


def test_a_failed_upload_leaves_no_parts(talk: Talk, proxy: S3Proxy, module_bucket: OwnBucket) -> None:
    large = random.Random(talk.namespace).randbytes(LARGE_BYTES)

    def second_part(asked: Asked) -> bool:
        return asked.method == "PUT" and "partNumber=2" in asked.path

    def completion(asked: Asked) -> bool:
        return asked.method == "POST" and "uploadId=" in asked.path

    for when in (second_part, completion):
        with proxy.spoiling(when, failing):
            problem(talk.put_blob(large), 503, "storage_failed")
        assert module_bucket.key_of(large) not in module_bucket.keys(module_bucket.key_of(large))
        assert module_bucket.uploads() == []
        assert talk.lacks(large)
    assert talk.put_blob(large).status_code == 201
    assert talk.get_blob(large).content == large


def test_a_sender_who_hangs_up_leaves_no_parts(
    store: StoreProcess, talk: Talk, proxy: S3Proxy, module_bucket: OwnBucket
) -> None:
    large = random.Random(talk.namespace).randbytes(LARGE_BYTES)
    packed = pack(large)

    def broken() -> Iterator[bytes]:
        yield packed[: 10 << 20]
        store.wait_until(lambda: module_bucket.uploads() != [])
        raise ConnectionError

    headers = {"Content-Encoding": "zstd", wire.SIZE_HEADER: str(len(large))}
    with pytest.raises(ConnectionError):
        talk.http.put(f"/v1/blobs/{digest_of(large)}", content=broken(), headers=headers)
    store.wait_until(lambda: module_bucket.uploads() == [])
    assert talk.lacks(large)


def test_a_blob_that_was_deleted_behind_our_back_is_noticed_and_healed(
    store: StoreProcess, talk: Talk, module_bucket: OwnBucket, small: bytes
) -> None:
    """As a bucket's lifecycle rule does it."""
    value = talk.publish(small)
    module_bucket.delete(module_bucket.key_of(small))
    problem(talk.get_blob(small), 503, "storage_failed")
    assert talk.lacks(small)
    assert talk.resolve(value.key).hits == ()
    problem(talk.get_blob(small), 404, "not_found")
    assert talk.put_blob(small).status_code == 201
    assert talk.get_blob(small).content == small
    assert talk.resolve(value.key).hits == (value,)
    assert f"blob {digest_of(small)} was promised and isn't there" in store.log


def test_a_blob_that_was_overwritten_is_noticed_and_healed(
    talk: Talk, module_bucket: OwnBucket, small: bytes
) -> None:
    talk.publish(small)
    module_bucket.put(module_bucket.key_of(small), pack(b"another blob's bytes"))
    problem(talk.get_blob(small), 503, "storage_failed")
    assert talk.lacks(small)
    assert talk.put_blob(small).status_code == 201
    assert talk.get_blob(small).content == small
