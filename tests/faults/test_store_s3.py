"""A bucket that fails in every way that buckets do: nothing is lost or served wrong, and it is told."""

from __future__ import annotations

import http.client
import random
import time
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path
from urllib.parse import urlsplit

import httpx
import pytest
from bucket import OwnBucket
from inductory_client.contract import wire
from inductory_client.contract.blob import pack
from inductory_client.contract.digest import digest_of
from inductory_client.contract.errors import NotFound, StorageFailed
from inductory_store.blobs.s3 import S3Blobs
from inductory_store.blobs.s3_leftovers import LEFT_SECONDS_MAX
from s3_proxy import Asked, Fault, S3Proxy, cut, drip, flip, hang, hang_up, refuse, stall
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


def everything(_: Asked) -> bool:
    return True


def reads(asked: Asked) -> bool:
    return asked.is_a_read


def get(talk: Talk, data: bytes) -> httpx.Response:
    return talk.http.get(f"/v1/blobs/{digest_of(data)}", headers=IDENTITY)


def missing(talk: Talk, data: bytes) -> bool:
    asked = wire.encode(wire.BlobsWanted(digests=(digest_of(data),)))
    return bool(talk.http.post("/v1/blobs:missing", content=asked).json()["missing"])


@pytest.mark.parametrize("fault", OUTAGES.values(), ids=OUTAGES)
def test_an_outage_is_told_and_nothing_is_taken_for_lost(
    store: StoreProcess, talk: Talk, proxy: S3Proxy, small: bytes, fault: Fault
) -> None:
    value = talk.publish(small)
    new = small[::-1]
    with proxy.spoiling(everything, fault):
        told = problem(get(talk, small), 503, "storage_failed")
        problem(talk.put_blob(new), 503, "storage_failed")
        # A question to the catalog alone has its answer; and what is there is there.
        assert not missing(talk, small)
        assert missing(talk, new)
        ready = talk.http.get("/readyz")
        assert ready.status_code == 503
    assert "own words" not in told.detail + ready.text
    assert get(talk, small).content == small
    assert talk.resolve(value.key).hits == (value,)
    problem(get(talk, new), 404, "not_found")
    assert talk.put_blob(new).status_code == 201
    assert get(talk, new).content == new
    assert talk.http.get("/readyz").status_code == 200


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
        assert get(talk, small).content == small
    problem(get(talk, small[::-1]), 404, "not_found")
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
        assert get(talk, small).content == small
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
    assert not missing(talk, small)
    assert get(talk, small).content == small


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
    assert get(talk, large).content == large


def test_bytes_that_drip_are_given_up(talk: Talk, proxy: S3Proxy, small: bytes) -> None:
    talk.publish(small)
    with proxy.spoiling(reads, drip):
        problem(get(talk, small), 503, "storage_failed")
    assert get(talk, small).content == small


def test_bytes_that_were_changed_on_the_way_are_not_served(talk: Talk, proxy: S3Proxy, small: bytes) -> None:
    value = talk.publish(small)
    with proxy.spoiling(reads, flip):
        problem(get(talk, small), 503, "storage_failed")
        # Read again before it is promised again: as long as it comes damaged, it isn't there.
        problem(get(talk, small), 404, "not_found")
    assert get(talk, small).content == small
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
        assert missing(talk, large)
    assert talk.put_blob(large).status_code == 201
    assert get(talk, large).content == large


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
    assert missing(talk, large)


def test_a_blob_that_was_deleted_behind_our_back_is_noticed_and_healed(
    store: StoreProcess, talk: Talk, module_bucket: OwnBucket, small: bytes
) -> None:
    """As a bucket's lifecycle rule does it."""
    value = talk.publish(small)
    module_bucket.delete(module_bucket.key_of(small))
    problem(get(talk, small), 503, "storage_failed")
    assert missing(talk, small)
    assert talk.resolve(value.key).hits == ()
    problem(get(talk, small), 404, "not_found")
    assert talk.put_blob(small).status_code == 201
    assert get(talk, small).content == small
    assert talk.resolve(value.key).hits == (value,)
    assert f"blob {digest_of(small)} was promised and isn't there" in store.log


def test_a_blob_that_was_overwritten_is_noticed_and_healed(
    talk: Talk, module_bucket: OwnBucket, small: bytes
) -> None:
    talk.publish(small)
    module_bucket.put(module_bucket.key_of(small), pack(b"another blob's bytes"))
    problem(get(talk, small), 503, "storage_failed")
    assert missing(talk, small)
    assert talk.put_blob(small).status_code == 201
    assert get(talk, small).content == small


def test_a_bucket_that_is_away_loses_no_blob(shared_bucket: OwnBucket, tmp_path: Path, small: bytes) -> None:
    bucket = OwnBucket(shared_bucket.server, shared_bucket.client).make()
    with StoreProcess(tmp_path / "store", bucket.environ) as store:
        talk = Talk(store.url, "default")
        value = talk.publish(small)
        key = bucket.key_of(small)
        kept = bucket.get(key)
        bucket.delete(key)
        bucket.client.delete_bucket(Bucket=bucket.name)
        for _ in range(2):
            problem(get(talk, small), 503, "storage_failed")
            problem(talk.put_blob(b"nowhere to go"), 503, "storage_failed")
        for method in ("GET", "HEAD"):
            answer = talk.http.request(method, f"/v1/blobs/{digest_of(small)}", headers=IDENTITY)
            assert answer.status_code == 503
        assert "isn't there" in talk.http.get("/readyz").text
        assert not missing(talk, small)
        bucket.make().put(key, kept)
        assert get(talk, small).content == small
        assert talk.resolve(value.key).hits == (value,)
        talk.http.close()


def refused_start(environ: dict[str, str], data_dir: Path) -> str:
    with pytest.raises(RuntimeError) as refused:
        StoreProcess(data_dir, environ)
    return str(refused.value)


def test_a_start_says_in_words_why_the_bucket_cannot_be_used(bucket: OwnBucket, tmp_path: Path) -> None:
    nowhere = {**bucket.environ, "INDUCTORY_STORE_BLOBS_URL": "s3://nosuchbucket"}
    assert "s3://nosuchbucket can't be used: the bucket isn't there" in refused_start(nowhere, tmp_path / "a")
    server = bucket.server
    guest = {"AWS_ACCESS_KEY_ID": server.guest, "AWS_SECRET_ACCESS_KEY": server.guest_secret}
    assert "credentials and their rights" in refused_start({**bucket.environ, **guest}, tmp_path / "b")
    forger = {**bucket.environ, "AWS_SECRET_ACCESS_KEY": "forged"}
    assert "credentials and their rights" in refused_start(forger, tmp_path / "c")
    nobody = {**bucket.environ, "AWS_ACCESS_KEY_ID": ""}
    assert "there are no credentials" in refused_start(nobody, tmp_path / "d")
    with S3Proxy(bucket.server.endpoint) as proxy, proxy.spoiling(everything, out_of_time):
        assert "clock" in refused_start(bucket.through(proxy.url).environ, tmp_path / "e")


def test_a_start_with_another_bucket_than_the_catalog_promises_says_so(
    bucket: OwnBucket, tmp_path: Path, small: bytes
) -> None:
    with StoreProcess(tmp_path / "store", bucket.environ) as store:
        talk = Talk(store.url, "default")
        talk.publish(small)
        talk.http.close()
    other = bucket.apart()
    assert "the catalog promises blobs" in refused_start(other.environ, tmp_path / "store")
    other.put(f"{other.prefix}cas/sha256/inductory-blobs", b"")
    for each in (other, bucket):
        with StoreProcess(tmp_path / "store", each.environ) as store:
            assert httpx.get(f"{store.url}/readyz").status_code == 200


def test_what_dead_processes_left_is_swept_after_an_hour(bucket: OwnBucket) -> None:
    told = bucket.settings().bucket
    assert told is not None
    target = {"Bucket": bucket.name, "Key": bucket.key_of(b"half-written")}
    begun = bucket.client.create_multipart_upload(**target)["UploadId"]
    bucket.client.upload_part(**target, UploadId=begun, PartNumber=1, Body=b"part")
    bucket.put(f"{bucket.prefix}inductory-probe/left", b"inductory")
    # What others keep beside the blobs is theirs.
    others = [f"{bucket.prefix}cas/sha256/upload", f"{bucket.prefix}probe/kept"]
    bucket.client.create_multipart_upload(Bucket=bucket.name, Key=others[0])
    bucket.put(others[1], b"theirs")
    with closing(S3Blobs(told)) as blobs:
        blobs.put(digest_of(b"whole"), 5, [pack(b"whole")])
        assert blobs.sweep_incoming(time.time()) == 0
        assert sorted(bucket.uploads()) == sorted([target["Key"], others[0]])
        assert blobs.sweep_incoming(time.time() + LEFT_SECONDS_MAX + 10) == 2
        assert bucket.uploads() == [others[0]]
        assert bucket.keys() == [bucket.key_of(b"whole"), others[1]]
        assert list(blobs.list()) == [digest_of(b"whole")]


def test_a_store_that_may_not_sweep_starts_all_the_same(
    bucket: OwnBucket, proxy: S3Proxy, tmp_path: Path
) -> None:
    def lists_uploads(asked: Asked) -> bool:
        return asked.method == "GET" and "uploads" in asked.path

    with (
        S3Proxy(bucket.server.endpoint) as other,
        other.spoiling(lists_uploads, denied),
        StoreProcess(tmp_path / "store", bucket.through(other.url).environ) as store,
    ):
        assert httpx.get(f"{store.url}/readyz").status_code == 200
        assert "wasn't removed" in store.log


def test_a_probe_leaves_nothing(bucket: OwnBucket) -> None:
    told = bucket.settings().bucket
    assert told is not None
    with closing(S3Blobs(told)) as blobs:
        blobs.check()
    assert bucket.keys() == []


def test_a_stream_whose_object_is_swapped_never_goes_on_with_the_other(bucket: OwnBucket) -> None:
    """Reading on from another place asks for the very object that was opened."""
    told = bucket.settings().bucket
    assert told is not None
    large = random.Random("swapped").randbytes(LARGE_BYTES)
    with closing(S3Blobs(told)) as blobs:
        blobs.put(digest_of(large), len(large), [pack(large)])
        for meddle in (lambda key: bucket.put(key, pack(large[::-1])), bucket.delete):
            with blobs.open(digest_of(large)) as file:
                file.read(10)
                meddle(bucket.key_of(large))
                file.seek(-100, 2)
                with pytest.raises(StorageFailed):
                    file.read(10)
        with pytest.raises(NotFound):
            blobs.open(digest_of(large))
