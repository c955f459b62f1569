"""A start says what is wrong with its bucket and sweeps leftovers; a bucket may go away and come back."""

from __future__ import annotations

import random
import time
from contextlib import closing
from pathlib import Path

import httpx
import pytest
from bucket import OwnBucket
from inductory_client.contract.blob import pack
from inductory_client.contract.digest import digest_of
from inductory_client.contract.errors import NotFound, StorageFailed
from inductory_store.blobs.s3 import S3Blobs
from inductory_store.blobs.s3_leftovers import LEFT_SECONDS_MAX
from s3_proxy import Asked, S3Proxy, everything, refuse
from store_messages import Talk, problem
from store_process import StoreProcess

LARGE_BYTES = 12 << 20
"""Past what is read at a time."""
SMALL = b"a small blob" * 100

denied = refuse(b"403 Forbidden", "AccessDenied")
out_of_time = refuse(b"403 Forbidden", "RequestTimeTooSkewed")


def test_a_bucket_that_is_away_loses_no_blob(shared_bucket: OwnBucket, tmp_path: Path) -> None:
    bucket = OwnBucket(shared_bucket.server, shared_bucket.client).make()
    with StoreProcess(tmp_path / "store", bucket.environ) as store:
        talk = Talk(store.url, "default")
        value = talk.publish(SMALL)
        key = bucket.key_of(SMALL)
        kept = bucket.get(key)
        bucket.delete(key)
        bucket.client.delete_bucket(Bucket=bucket.name)
        for _ in range(2):
            problem(talk.get_blob(SMALL), 503, "storage_failed")
            problem(talk.put_blob(b"nowhere to go"), 503, "storage_failed")
        for method in ("GET", "HEAD"):
            answer = talk.http.request(
                method, f"/v1/blobs/{digest_of(SMALL)}", headers={"Accept-Encoding": "identity"}
            )
            assert answer.status_code == 503
        assert "isn't there" in talk.http.get("/readyz").text
        assert not talk.lacks(SMALL)
        bucket.make().put(key, kept)
        assert talk.get_blob(SMALL).content == SMALL
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
    bucket: OwnBucket, tmp_path: Path
) -> None:
    with StoreProcess(tmp_path / "store", bucket.environ) as store:
        talk = Talk(store.url, "default")
        talk.publish(SMALL)
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


def test_a_store_that_may_not_sweep_starts_all_the_same(bucket: OwnBucket, tmp_path: Path) -> None:
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
