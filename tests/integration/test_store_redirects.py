"""Large blobs come from the bucket itself, by addresses that nobody can bend."""

from __future__ import annotations

import random
import time
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path
from urllib.parse import parse_qs, urlsplit

import httpx
import pytest
from bucket import OwnBucket
from inductory_client.contract.blob import pack, unpack
from inductory_client.contract.digest import digest_of
from inductory_client.transport import HttpStore
from inductory_store.blobs.s3 import DirectS3Blobs
from s3_proxy import S3Proxy, reads
from store_messages import Talk
from store_process import StoreProcess

LARGE = random.Random("redirects").randbytes(3 << 20)
DIGEST = digest_of(LARGE)


@pytest.fixture
def proxy(bucket: OwnBucket) -> Iterator[S3Proxy]:
    """Sees what is asked of the bucket."""
    with S3Proxy(bucket.server.endpoint) as proxy:
        yield proxy


@pytest.fixture
def store(bucket: OwnBucket, proxy: S3Proxy, tmp_path: Path) -> Iterator[StoreProcess]:
    """A store that sends readers to the bucket, with a large blob."""
    environ = {**bucket.through(proxy.url).environ, "INDUCTORY_STORE_S3_REDIRECT": "on"}
    with StoreProcess(tmp_path / "store", environ) as store:
        talk = Talk(store.url, "default")
        assert talk.put_blob(LARGE).status_code == 201
        talk.http.close()
        proxy.seen.clear()
        yield store


def direct_url(store: StoreProcess) -> str:
    answer = httpx.get(f"{store.url}/v1/blobs/{DIGEST}", headers={"Accept-Encoding": "zstd"})
    assert answer.status_code == 307
    return answer.headers["location"]


def test_an_address_gives_the_zstd_frame_and_says_so(store: StoreProcess) -> None:
    with httpx.stream("GET", direct_url(store)) as answer:
        assert answer.status_code == 200
        assert answer.headers["content-encoding"] == "zstd"
        assert unpack(b"".join(answer.iter_raw()), len(LARGE)) == LARGE


def test_any_client_that_follows_gets_what_the_store_would_have_sent(store: StoreProcess) -> None:
    headers = {"Accept-Encoding": "zstd"}
    with httpx.stream(
        "GET", f"{store.url}/v1/blobs/{DIGEST}", headers=headers, follow_redirects=True
    ) as answer:
        assert unpack(b"".join(answer.iter_raw()), len(LARGE)) == LARGE


def test_our_client_follows_and_takes_nothing_of_its_own_along(store: StoreProcess, proxy: S3Proxy) -> None:
    with closing(HttpStore(store.url)) as client:
        received = client.receive_blob(DIGEST, len(LARGE))
    assert received.data == LARGE
    assert received.bytes_moved == len(pack(LARGE))
    (asked,) = [each for each in proxy.seen if reads(each)]
    assert "X-Amz-Signature=" in asked.path
    names = {line.split(b":")[0].lower() for line in asked.head.split(b"\r\n")[1:]}
    assert names == {b"host", b"accept-encoding"}


def test_an_address_is_for_one_blob_and_for_reading(store: StoreProcess, bucket: OwnBucket) -> None:
    other = b"another blob"
    bucket.put(bucket.key_of(other), pack(other))
    url = direct_url(store)
    assert httpx.get(url).status_code == 200
    bent = url.replace(DIGEST[:2] + "/" + DIGEST, digest_of(other)[:2] + "/" + digest_of(other))
    assert bent != url
    for method, address in (
        ("GET", bent),
        ("GET", url.replace("X-Amz-Expires=300", "X-Amz-Expires=3000")),
        ("GET", url.replace("response-content-encoding=zstd", "response-content-encoding=gzip")),
        ("PUT", url),
        ("DELETE", url),
    ):
        assert httpx.request(method, address).status_code == 403, (method, address)
    assert httpx.get(url).status_code == 200


def test_an_address_lives_as_long_as_was_said(store: StoreProcess) -> None:
    assert parse_qs(urlsplit(direct_url(store)).query)["X-Amz-Expires"] == ["300"]


def test_an_address_that_has_expired_is_refused(bucket: OwnBucket) -> None:
    data = b"soon out of reach"
    bucket.put(bucket.key_of(data), pack(data))
    told = bucket.settings(s3_redirect=True, s3_redirect_s=1).bucket
    assert told is not None
    with closing(DirectS3Blobs(told, 1)) as blobs:
        url = blobs.direct_url(digest_of(data))
    until = time.monotonic() + 60
    while httpx.get(url).status_code != 403:
        assert time.monotonic() < until, "it never expires"


def test_what_is_small_comes_from_the_store(store: StoreProcess, proxy: S3Proxy) -> None:
    small = b"small" * 100
    talk = Talk(store.url, "default")
    talk.put_blob(small)
    assert talk.http.get(f"/v1/blobs/{digest_of(small)}").status_code == 200
    talk.http.close()


def test_a_store_that_was_not_told_sends_nobody_away(bucket: OwnBucket, tmp_path: Path) -> None:
    with StoreProcess(tmp_path / "store", bucket.environ) as store:
        talk = Talk(store.url, "default")
        talk.put_blob(LARGE)
        with talk.http.stream("GET", f"/v1/blobs/{DIGEST}", headers={"Accept-Encoding": "zstd"}) as answer:
            assert answer.status_code == 200
            assert unpack(b"".join(answer.iter_raw()), len(LARGE)) == LARGE
        talk.http.close()


def test_the_bucket_is_asked_once_a_read(bucket: OwnBucket, proxy: S3Proxy, tmp_path: Path) -> None:
    """And not at all to say what is there: that is the catalog's to know."""
    with StoreProcess(tmp_path / "store", bucket.through(proxy.url).environ) as store:
        talk = Talk(store.url, "default")
        value = talk.publish(LARGE)
        proxy.seen.clear()
        address = f"/v1/blobs/{DIGEST}"
        assert talk.http.get(address, headers={"Accept-Encoding": "identity"}).content == LARGE
        assert talk.http.get(address, headers={"Range": "bytes=3-5"}).content == LARGE[3:6]
        assert [each.method for each in proxy.seen] == ["GET", "GET"]
        assert talk.resolve(value.key).hits == (value,)
        with closing(HttpStore(store.url)) as client:
            assert client.missing_blobs([DIGEST]) == set()
        assert [each.method for each in proxy.seen] == ["GET", "GET"]
        talk.http.close()
