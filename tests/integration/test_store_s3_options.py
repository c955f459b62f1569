"""How a bucket is spoken to: over TLS, with and without checksums after the bytes, encrypted at rest."""

from __future__ import annotations

import random
from collections.abc import Iterator
from contextlib import closing, nullcontext
from pathlib import Path

import pytest
from bucket import OwnBucket
from certificates import make_certificate, tls_context
from inductory_client.contract.blob import pack, unpack
from inductory_client.contract.digest import digest_of
from inductory_client.contract.errors import StorageFailed
from inductory_store.blobs.s3 import S3Blobs
from s3_proxy import S3Proxy

SMALL = b"a small blob"
LARGE = random.Random("options").randbytes(12 << 20)
"""Sent in parts."""


@pytest.fixture
def certificate(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> tuple[Path, Path]:
    """A certificate that this process trusts, and its key."""
    certificate, key = make_certificate(tmp_path)
    monkeypatch.setenv("AWS_CA_BUNDLE", str(certificate))
    return certificate, key


@pytest.fixture
def over_tls(bucket: OwnBucket, certificate: tuple[Path, Path]) -> Iterator[S3Proxy]:
    with S3Proxy(bucket.server.endpoint, tls_context(*certificate)) as proxy:
        yield proxy


def opened(bucket: OwnBucket, **changes: object) -> S3Blobs:
    told = bucket.settings(**changes).bucket
    assert told is not None
    return S3Blobs(told)


def put_and_read(blobs: S3Blobs, data: bytes) -> None:
    packed = pack(data)
    chunks = (packed[at : at + 1_000_000] for at in range(0, len(packed), 1_000_000))
    assert blobs.put(digest_of(data), len(data), chunks).packed_size == len(packed)
    with blobs.open(digest_of(data)) as file:
        assert unpack(file.read(), len(data)) == data


def trailers(proxy: S3Proxy) -> list[bool]:
    """Of what was written, whether a checksum came after the bytes."""
    return [b"x-amz-trailer" in each.head.lower() for each in proxy.seen if each.method == "PUT"]


def test_over_tls_without_checksums_after_the_bytes(bucket: OwnBucket, over_tls: S3Proxy) -> None:
    with closing(opened(bucket.through(over_tls.url), s3_checksums="when_required")) as blobs:
        put_and_read(blobs, SMALL)
        put_and_read(blobs, LARGE)
    assert trailers(over_tls) == [False, False, False]


def test_over_tls_with_checksums_after_the_bytes(bucket: OwnBucket, over_tls: S3Proxy) -> None:
    with closing(opened(bucket.through(over_tls.url))) as blobs:
        if bucket.server.takes_trailers:
            put_and_read(blobs, SMALL)
            put_and_read(blobs, LARGE)
            assert trailers(over_tls) == [True, True, True]
        else:
            for data in (SMALL, LARGE):
                with pytest.raises(StorageFailed, match="set s3_checksums=when_required"):
                    put_and_read(blobs, data)
            assert bucket.keys() == bucket.uploads() == []


def test_a_server_whose_certificate_is_not_trusted_is_not_used(
    bucket: OwnBucket, over_tls: S3Proxy, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("AWS_CA_BUNDLE")
    with pytest.raises(StorageFailed, match="couldn't be reached"):
        opened(bucket.through(over_tls.url))


@pytest.mark.parametrize(
    ("changes", "headers"),
    [
        ({}, {}),
        ({"s3_encryption": "AES256"}, {b"x-amz-server-side-encryption": b"AES256"}),
        (
            {"s3_encryption": "aws:kms", "s3_kms_key": "some-key"},
            {
                b"x-amz-server-side-encryption": b"aws:kms",
                b"x-amz-server-side-encryption-aws-kms-key-id": b"some-key",
            },
        ),
    ],
    ids=["none", "AES256", "aws:kms"],
)
def test_encryption_is_asked_of_every_object(
    bucket: OwnBucket, changes: dict[str, str], headers: dict[bytes, bytes]
) -> None:
    """Neither server of the tests has a key service: what counts is what they are asked."""
    with S3Proxy(bucket.server.endpoint) as proxy:
        with closing(opened(bucket.through(proxy.url), **changes)) as blobs:
            for data in (SMALL, LARGE):
                with pytest.raises(StorageFailed, match="refuses what") if changes else nullcontext():
                    put_and_read(blobs, data)
        made = [
            each
            for each in proxy.seen
            if each.method in ("PUT", "POST") and each.path.endswith((".zst", "?uploads"))
        ]
    assert [each.method for each in made] == ["PUT", "POST"]
    for each in made:
        lines = dict(line.lower().split(b": ", 1) for line in each.head.split(b"\r\n")[1:] if b": " in line)
        asked = {name: text for name, text in lines.items() if name.startswith(b"x-amz-server-side")}
        assert asked == {name: text.lower() for name, text in headers.items()}
