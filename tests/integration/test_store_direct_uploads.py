"""Large blobs go to the bucket itself, and are none before the store has read them back."""

from __future__ import annotations

import random
import time
from collections.abc import Iterator
from contextlib import closing, suppress
from functools import cached_property
from pathlib import Path
from urllib.parse import parse_qs, urlsplit

import httpx
import pytest
from bucket import OwnBucket
from inductory_client.contract import wire
from inductory_client.contract.blob import pack
from inductory_client.contract.digest import digest_of
from inductory_client.deadline import Deadline
from inductory_client.transport import HttpStore
from inductory_client.trouble import forget_warnings
from inductory_store.blobs.s3 import DirectS3Blobs, S3Blobs
from s3_proxy import Asked, Fault, S3Proxy, flip, hang, hang_up, refuse
from store_messages import Talk, problem
from store_process import StoreProcess


class Large:
    """A blob that nobody else sends, and the calls that send it by way of the bucket."""

    def __init__(self, seed: str, size: int = 2 << 20) -> None:
        self.data = random.Random(seed).randbytes(size)
        self.digest = digest_of(self.data)

    @cached_property
    def packed(self) -> bytes:
        return pack(self.data)

    def asked(self, talk: Talk, size: int | None = None, packed_size: int | None = None) -> httpx.Response:
        wanted = wire.UploadWanted(
            size=len(self.data) if size is None else size,
            packed_size=len(self.packed) if packed_size is None else packed_size,
        )
        return talk.http.post(f"/v1/blobs/{self.digest}/upload", content=wire.encode(wanted))

    def offered(
        self, talk: Talk, size: int | None = None, packed_size: int | None = None
    ) -> wire.UploadOffered:
        answer = self.asked(talk, size, packed_size)
        assert answer.status_code == 200, answer.text
        return wire.decode(answer.content, wire.UploadOffered)

    def sent(self, talk: Talk) -> str:
        """Send it, and return the upload's name."""
        offer = self.offered(talk)
        assert send(offer, self.packed) == 200
        return offer.upload

    def finished(self, talk: Talk, upload: str) -> httpx.Response:
        return talk.http.post(f"/v1/blobs/{self.digest}/upload/{upload}:finish")


def send(offer: wire.UploadOffered, packed: bytes) -> int:
    return httpx.put(offer.url, content=packed, headers=offer.headers).status_code


def pending(bucket: OwnBucket) -> list[str]:
    """What was sent and is no blob."""
    return bucket.keys(f"{bucket.prefix}inductory-uploads/")


def puts(asked: Asked) -> bool:
    """Whether a client sends a blob by an address."""
    return asked.method == "PUT" and "X-Amz-Signature=" in asked.path


@pytest.fixture(scope="module")
def stores_bucket(shared_bucket: OwnBucket) -> OwnBucket:
    return shared_bucket.apart()


@pytest.fixture(scope="module")
def servers_proxy(stores_bucket: OwnBucket) -> Iterator[S3Proxy]:
    with S3Proxy(stores_bucket.server.endpoint) as proxy:
        yield proxy


@pytest.fixture
def proxy(servers_proxy: S3Proxy) -> S3Proxy:
    """Sees what is asked of the bucket."""
    servers_proxy.seen.clear()
    return servers_proxy


@pytest.fixture(scope="module")
def environ(stores_bucket: OwnBucket, servers_proxy: S3Proxy) -> dict[str, str]:
    return {**stores_bucket.through(servers_proxy.url).environ, "INDUCTORY_STORE_S3_REDIRECT": "on"}


@pytest.fixture(scope="module")
def store(environ: dict[str, str], tmp_path_factory: pytest.TempPathFactory) -> Iterator[StoreProcess]:
    """A store that exchanges large blobs by the bucket, in both directions."""
    with StoreProcess(tmp_path_factory.mktemp("uploads") / "store", environ) as store:
        yield store


@pytest.fixture
def talk(store: StoreProcess) -> Iterator[Talk]:
    talk = Talk(store.url, "default")
    yield talk
    talk.http.close()


@pytest.fixture
def large(request: pytest.FixtureRequest) -> Large:
    return Large(request.node.name)


def test_what_was_sent_is_a_blob_once_it_is_finished(talk: Talk, stores_bucket: OwnBucket) -> None:
    large = Large("more than a part", 12 << 20)
    upload = large.sent(talk)
    assert pending(stores_bucket) == [f"{stores_bucket.prefix}inductory-uploads/{large.digest}/{upload}"]
    assert talk.lacks(large.data)
    problem(talk.get_blob(large.data), 404, "not_found")
    assert large.finished(talk, upload).status_code == 201
    assert not pending(stores_bucket)
    assert stores_bucket.get(stores_bucket.key_of(large.data)) == large.packed
    assert talk.get_blob(large.data).content == large.data
    # An answer that was lost is asked for again.
    assert large.finished(talk, upload).status_code == 200


def test_our_client_sends_by_the_bucket_and_nothing_else_along(
    store: StoreProcess, talk: Talk, proxy: S3Proxy, stores_bucket: OwnBucket, large: Large
) -> None:
    small = b"what is small goes to the store"
    with closing(HttpStore(store.url)) as client:
        assert client.put_blob(large.digest, large.data) == len(large.packed)
        assert client.put_blob(digest_of(small), small) == len(pack(small))
        assert client.get_blob(large.digest, len(large.data)) == large.data
    (sent,) = filter(puts, proxy.seen)
    names = {line.split(b":")[0].lower() for line in sent.head.split(b"\r\n")[1:]}
    assert names == {b"host", b"accept-encoding", b"content-type", b"content-length"}
    assert not pending(stores_bucket)
    assert not talk.lacks(large.data)
    assert not talk.lacks(small)


def test_any_replica_finishes_what_another_offered(
    talk: Talk, environ: dict[str, str], stores_bucket: OwnBucket, tmp_path: Path, large: Large
) -> None:
    upload = large.sent(talk)
    with StoreProcess(tmp_path / "another", environ) as store:
        other = Talk(store.url, "default")
        assert large.finished(other, upload).status_code == 201
        assert other.get_blob(large.data).content == large.data
        other.http.close()
    assert not pending(stores_bucket)


def refused_frames(large: Large) -> Iterator[tuple[bytes, int, str]]:
    """What is sent, the size that was said, and what the store calls it."""
    size, other = len(large.data), Large("other bytes")
    yield other.packed, size, "digest_mismatch"
    yield large.packed, size - 1, "size_mismatch"
    yield large.packed, size + 1, "size_mismatch"
    yield large.packed[:-1], size, "corrupt"
    yield large.packed + b"more", size, "corrupt"
    yield large.data, size, "corrupt"


def test_what_is_not_the_blob_is_refused_and_removed(
    talk: Talk, stores_bucket: OwnBucket, large: Large
) -> None:
    def all_are_refused() -> None:
        for packed, size, code in refused_frames(large):
            offer = large.offered(talk, size, len(packed))
            assert send(offer, packed) == 200
            problem(large.finished(talk, offer.upload), 422, code)
            assert not pending(stores_bucket)

    all_are_refused()
    assert talk.lacks(large.data)
    assert not stores_bucket.keys(stores_bucket.key_of(large.data))
    # Also where the blob is there, so that whoever sends other bytes is told.
    assert talk.put_blob(large.data).status_code == 201
    all_are_refused()
    assert talk.get_blob(large.data).content == large.data


def test_names_of_no_upload(talk: Talk, stores_bucket: OwnBucket, large: Large) -> None:
    offer, other = large.offered(talk), Large("another blob")
    finish_by, size, nonce = offer.upload.split("-")
    problem(large.finished(talk, offer.upload), 404, "not_found")
    assert send(offer, large.packed) == 200
    another = f"{finish_by}-{size}-{'0' * 32}"
    later = f"{int(finish_by, 16) + 1:x}-{size}-{nonce}"
    smaller = f"{finish_by}-1-{nonce}"
    for name in (another, later, smaller, f"0{offer.upload}", "nonsense", "-", "a" * 2000):
        problem(large.finished(talk, name), 404, "not_found")
    problem(other.finished(talk, offer.upload), 404, "not_found")
    problem(large.finished(talk, f"1-{size}-{nonce}"), 410, "upload_expired")
    other.digest = "nonsense"
    problem(other.finished(talk, offer.upload), 400, "malformed")
    # None of these has touched it.
    assert large.finished(talk, offer.upload).status_code == 201
    assert not pending(stores_bucket)


def test_an_address_is_for_one_upload_of_one_length(
    talk: Talk, stores_bucket: OwnBucket, large: Large
) -> None:
    offer, packed = large.offered(talk), large.packed
    elsewhere = offer.url.replace(large.digest, Large("another blob").digest)
    longer = offer.url.replace("X-Amz-Expires=300", "X-Amz-Expires=3000")
    assert len({offer.url, elsewhere, longer}) == 3
    for method, address, body in (
        ("PUT", elsewhere, packed),
        ("PUT", longer, packed),
        ("PUT", offer.url, packed + b"more"),
        ("PUT", offer.url, packed[:-1]),
        ("GET", offer.url, b""),
        ("DELETE", offer.url, b""),
    ):
        # A server may answer before it has read the body, and hang up on it.
        with suppress(httpx.NetworkError):
            answer = httpx.request(method, address, content=body, headers=offer.headers)
            assert answer.status_code == 403, (method, address)
    assert not pending(stores_bucket)
    assert send(offer, packed) == 200
    assert large.finished(talk, offer.upload).status_code == 201


def test_an_address_asks_for_the_encryption_that_the_store_was_told(bucket: OwnBucket, large: Large) -> None:
    told = bucket.settings(s3_redirect=True, s3_encryption="aws:kms", s3_kms_key="a-key").bucket
    assert told is not None
    with closing(DirectS3Blobs(told, 86400)) as blobs:
        offer = blobs.offer_upload(large.digest, len(large.data), len(large.packed), time.time())
    query = parse_qs(urlsplit(offer.url).query)
    signed = set(query["X-Amz-SignedHeaders"][0].split(";"))
    assert signed == {
        *("host", "content-length", "content-type"),
        *("x-amz-server-side-encryption", "x-amz-server-side-encryption-aws-kms-key-id"),
    }
    assert {name.lower() for name in offer.headers} | {"host", "content-length"} == signed
    # However long those for reading live.
    assert query["X-Amz-Expires"] == ["3600"]


def test_questions_that_make_no_sense(talk: Talk, large: Large) -> None:
    problem(large.asked(talk, packed_size=wire.DIRECT_BYTES_MIN - 1), 400, "malformed")
    problem(large.asked(talk, size=-1), 400, "malformed")
    problem(large.asked(talk, size=1 << 31), 400, "malformed")
    problem(large.asked(talk, size=100), 413, "too_large")
    large.digest = "nonsense"
    problem(large.asked(talk), 400, "malformed")


def test_a_store_that_was_not_told_offers_nothing_and_takes_blobs_itself(
    bucket: OwnBucket, tmp_path: Path, large: Large
) -> None:
    with StoreProcess(tmp_path / "store", bucket.environ) as store:
        talk = Talk(store.url, "default")
        problem(large.asked(talk), 404, "not_found")
        problem(large.finished(talk, f"5f3e1a2b-400000-{'0' * 32}"), 404, "not_found")
        with closing(HttpStore(store.url)) as client:
            assert client.put_blob(large.digest, large.data) == len(large.packed)
        assert talk.get_blob(large.data).content == large.data
        talk.http.close()


def test_uploads_that_nobody_finished_are_swept_when_nobody_can_any_more(
    bucket: OwnBucket, large: Large
) -> None:
    told = bucket.settings(s3_redirect=True).bucket
    assert told is not None
    now = time.time()
    with closing(DirectS3Blobs(told, 300)) as blobs:
        left, later = (
            blobs.offer_upload(large.digest, len(large.data), len(large.packed), at) for at in (now, now + 60)
        )
        for each in (left, later):
            assert httpx.put(each.url, content=large.packed, headers=each.headers).status_code == 200
        theirs = f"{bucket.prefix}inductory-uploads/theirs"
        bucket.put(theirs, b"theirs")
        # Until then another replica may be at it.
        assert blobs.sweep_incoming(left.upload.finish_by) == 0
        assert blobs.sweep_incoming(left.upload.finish_by + 1) == 1
        assert bucket.keys() == [f"{bucket.prefix}inductory-uploads/{large.digest}/{later.upload}", theirs]
    # A store that isn't told to redirect any more sweeps, too.
    with closing(S3Blobs(told)) as blobs:
        assert blobs.sweep_incoming(later.upload.finish_by + 1) == 1
    assert bucket.keys() == [theirs]


@pytest.mark.parametrize(
    "fault",
    [refuse(b"403 Forbidden", "AccessDenied"), refuse(b"503 Slow Down", "SlowDown"), hang_up, hang],
    ids=["denied", "failing", "hangs up", "hangs"],
)
def test_what_the_bucket_does_not_take_the_store_takes(
    store: StoreProcess, talk: Talk, proxy: S3Proxy, large: Large, fault: Fault
) -> None:
    forget_warnings()
    second = Large(f"{large.digest} again")
    with closing(HttpStore(store.url)) as client, proxy.spoiling(puts, fault):
        for each in (large, second):
            assert client.put_blob(each.digest, each.data, Deadline(20)) == len(each.packed)
    # After one failure it is left alone.
    assert len(list(filter(puts, proxy.seen))) == 1
    for each in (large, second):
        assert talk.get_blob(each.data).content == each.data


@pytest.mark.parametrize(
    "fault", [flip, refuse(b"403 Forbidden", "AccessDenied")], ids=["other bits", "denied"]
)
def test_what_the_store_can_not_read_back_it_is_sent(
    store: StoreProcess, talk: Talk, proxy: S3Proxy, stores_bucket: OwnBucket, large: Large, fault: Fault
) -> None:
    def reads_back(asked: Asked) -> bool:
        return asked.method == "GET" and "inductory-uploads/" in asked.path

    forget_warnings()
    with closing(HttpStore(store.url)) as client, proxy.spoiling(reads_back, fault):
        assert client.put_blob(large.digest, large.data) == len(large.packed)
    assert list(filter(reads_back, proxy.seen))
    assert talk.get_blob(large.data).content == large.data
    assert not pending(stores_bucket)


def test_it_goes_through_a_store_that_pulls_from_this_one(store: StoreProcess, tmp_path: Path) -> None:
    large = Large("through a store near the nodes")
    with StoreProcess(tmp_path / "near", {"INDUCTORY_STORE_UPSTREAM_URL": store.url}) as near:
        talk = Talk(near.url, "default")
        problem(talk.get_blob(large.data), 404, "not_found")
        assert large.finished(talk, large.sent(talk)).status_code == 201
        # It isn't taken for absent any more, though that was said a moment ago.
        assert talk.get_blob(large.data).content == large.data
        talk.http.close()
