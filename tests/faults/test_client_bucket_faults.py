"""A bucket that a store sends us to may do what it likes: the blob then comes from the store itself."""

from __future__ import annotations

import logging
import socket
from collections.abc import Iterator
from contextlib import closing, contextmanager

import pytest
from client_samples import FakeClock
from inductory_client.breaker import CircuitBreaker
from inductory_client.bucket import BucketReader
from inductory_client.contract.blob import pack
from inductory_client.contract.digest import digest_of
from inductory_client.contract.errors import BreakerOpen, DeadlineExceeded, DigestMismatch, StoreUnavailable
from inductory_client.deadline import Deadline
from inductory_client.transport import HttpStore
from inductory_client.trouble import forget_warnings
from misbehaving import Handler, Misbehaving, always, answer, dripping, refused, requests, silent

DATA = b"the payload of a piece" * 100
DIGEST = digest_of(DATA)
BLOB = b"application/octet-stream"
LONG_S = 60.0
SHORT_S = 1.0


def sending(url: str, plain: bytes = DATA) -> Handler:
    """A store that sends whoever takes zstd to `url`, and gives others the bytes themselves."""
    elsewhere = answer(b"", b"307 Temporary Redirect", headers=f"Location: {url}\r\n".encode())

    def handler(sock: socket.socket, server: Misbehaving) -> None:
        for request in requests(sock, server):
            sock.sendall(elsewhere if b"Accept-Encoding: zstd" in request else answer(plain, kind=BLOB))

    return handler


@contextmanager
def sent_to(url: str, plain: bytes = DATA) -> Iterator[tuple[HttpStore, Misbehaving]]:
    forget_warnings()
    with Misbehaving(sending(url, plain)) as server, closing(HttpStore(server.url)) as store:
        yield store, server


def encodings(server: Misbehaving) -> list[bytes]:
    """What was asked of a store, by what it was to be packed as."""
    lines = [line for request in server.asked for line in request.split(b"\r\n")]
    return [line.split(b": ")[1] for line in lines if line.startswith(b"Accept-Encoding")]


def test_a_good_bucket_is_read_and_its_connection_is_kept() -> None:
    connections: list[socket.socket] = []

    def bucket(sock: socket.socket, server: Misbehaving) -> None:
        connections.append(sock)
        for _ in requests(sock, server):
            sock.sendall(answer(pack(DATA), kind=BLOB))

    with Misbehaving(bucket) as there, sent_to(f"{there.url}/key?X-Amz-Signature=ab%2Fcd") as (store, server):
        for _ in range(3):
            assert store.get_blob(DIGEST, len(DATA)) == DATA
        assert encodings(server) == [b"zstd"] * 3
    assert len(connections) == 1
    assert all(each.startswith(b"GET /key?X-Amz-Signature=ab%2Fcd HTTP/1.1\r\n") for each in there.asked)


@pytest.mark.parametrize(
    "bucket",
    [
        always(answer(b"<Error/>", b"403 Forbidden")),
        always(answer(b"<Error/>", b"404 Not Found")),
        always(answer(b"<Error/>", b"500 Internal Server Error")),
        always(answer(b"", b"307 Temporary Redirect", headers=b"Location: http://127.0.0.1:1/\r\n")),
        always(answer(pack(DATA)[:-5], kind=BLOB)),
        always(answer(pack(DATA), kind=BLOB, length=len(pack(DATA)) + 100), hang_up=True),
        always(answer(pack(DATA[::-1]), kind=BLOB)),
        always(answer(DATA, kind=BLOB)),
        always(answer(bytes(1 << 20), kind=BLOB)),
        always(b"nonsense\r\n\r\n", hang_up=True),
    ],
    ids=[
        *("denied", "gone", "failing", "sends us on", "cut short", "ends early", "other bytes", "not packed"),
        *("too much", "nonsense"),
    ],
)
def test_what_the_bucket_fails_to_give_the_store_gives(bucket: Handler) -> None:
    with Misbehaving(bucket) as there, sent_to(f"{there.url}/key?signed") as (store, server):
        assert store.get_blob(DIGEST, len(DATA), Deadline(LONG_S)) == DATA
        assert encodings(server) == [b"zstd", b"identity"]
    assert there.asked


@pytest.mark.parametrize(
    "url", ["", "/v1/elsewhere", "ftp://bucket/key", "http://", "http://me:pw@bucket/", "http://a:x/"]
)
def test_an_address_that_is_none(url: str) -> None:
    with sent_to(url) as (store, server):
        assert store.get_blob(DIGEST, len(DATA), Deadline(LONG_S)) == DATA
        assert encodings(server) == [b"zstd", b"identity"]


def test_a_bucket_that_nobody_reaches_is_told_of_and_left_alone(caplog: pytest.LogCaptureFixture) -> None:
    with refused() as url, sent_to(f"{url}/key?X-Amz-Signature=secret") as (store, server):
        with caplog.at_level(logging.WARNING):
            for _ in range(3):
                assert store.get_blob(DIGEST, len(DATA), Deadline(LONG_S)) == DATA
        assert encodings(server) == [b"zstd", b"identity", b"identity", b"identity"]
    (told,) = caplog.messages
    assert url in told
    assert "secret" not in told


@pytest.mark.parametrize(
    "bucket",
    [silent, dripping(b"H"), dripping(b"x", answer(b"", length=2000))],
    ids=["silent", "headers", "body"],
)
def test_a_bucket_that_hangs_leaves_the_store_its_half(bucket: Handler) -> None:
    with Misbehaving(bucket) as there, sent_to(f"{there.url}/key?signed") as (store, server):
        assert store.get_blob(DIGEST, len(DATA), Deadline(SHORT_S)) == DATA
        assert encodings(server) == [b"zstd", b"identity"]
        assert not there.over.is_set()


def test_a_bucket_is_tried_again_after_a_while() -> None:
    clock = FakeClock()
    with (
        Misbehaving(always(answer(DATA, kind=BLOB))) as there,
        refused() as nowhere,
        closing(BucketReader(CircuitBreaker(failures_max=1, clock=clock))) as bucket,
    ):
        with pytest.raises(StoreUnavailable):
            bucket.read(f"{nowhere}/key?signed", 10_000, Deadline(LONG_S))
        assert bucket.is_left_alone
        with pytest.raises(BreakerOpen):
            bucket.read(f"{there.url}/key?signed", 10_000, Deadline(LONG_S))
        assert not there.asked
        clock.pass_by(3600)
        assert not bucket.is_left_alone
        assert bucket.read(f"{there.url}/key?signed", 10_000, Deadline(LONG_S)) == DATA


def test_wrong_bytes_from_both_are_refused() -> None:
    wrong = DATA[::-1]
    with (
        Misbehaving(always(answer(pack(wrong), kind=BLOB))) as there,
        sent_to(f"{there.url}/key?signed", wrong) as (store, _),
        pytest.raises(DigestMismatch),
    ):
        store.get_blob(DIGEST, len(DATA), Deadline(LONG_S))


def test_one_deadline_is_for_both() -> None:
    """The store falls silent after it has sent us away."""
    with Misbehaving(silent) as there:
        elsewhere = answer(b"", b"307 Temporary Redirect", headers=f"Location: {there.url}/k?s\r\n".encode())

        def once(sock: socket.socket, server: Misbehaving) -> None:
            for request in requests(sock, server):
                if b"identity" in request:
                    server.over.wait()
                sock.sendall(elsewhere)

        with Misbehaving(once) as server, closing(HttpStore(server.url)) as store:
            with pytest.raises(DeadlineExceeded):
                store.get_blob(DIGEST, len(DATA), Deadline(SHORT_S))
            assert encodings(server) == [b"zstd", b"identity"]
