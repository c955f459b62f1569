"""A bucket that a store has us send blobs to may do what it likes: the store itself then takes the blob."""

from __future__ import annotations

import logging
import random
import socket
from collections.abc import Iterator
from contextlib import closing, contextmanager

import pytest
from client_samples import FakeClock
from inductory_client.breaker import CircuitBreaker
from inductory_client.bucket import BucketWriter
from inductory_client.contract.blob import pack
from inductory_client.contract.digest import digest_of
from inductory_client.contract.errors import BreakerOpen, DigestMismatch, NotFound, StoreUnavailable
from inductory_client.contract.wire import Problem, UploadOffered, UploadWanted, encode
from inductory_client.deadline import Deadline
from inductory_client.exchange import Exchange
from inductory_client.transport import HttpStore
from inductory_client.trouble import forget_warnings
from misbehaving import Handler, Misbehaving, always, answer, dripping, refused, requests, silent

DATA = random.Random("upload faults").randbytes(2 << 20)
DIGEST = digest_of(DATA)
PACKED = pack(DATA)
LONG_S = 60.0
SHORT_S = 2.0
KEPT = answer(b"")


def refusal(error: NotFound | DigestMismatch) -> bytes:
    told = Problem(
        type="urn:inductory:problem:" + error.code,
        title="",
        status=error.status,
        code=error.code,
        detail=error.message,
        retryable=error.retryable,
    )
    return answer(encode(told), f"{error.status} Refused".encode())


def offer_of(url: str) -> UploadOffered:
    headers = {"Content-Type": "application/zstd"}
    return UploadOffered(upload="5f-40-60303ae2", url=url, headers=headers, expires_in_s=300)


def offering(offer: bytes, finished: bytes = KEPT) -> Handler:
    """A store that answers so who asks for an address and who has finished, and takes what it is sent."""

    def handler(sock: socket.socket, server: Misbehaving) -> None:
        for request in requests(sock, server):
            line = request.split(b"\r\n")[0]
            sock.sendall(offer if b"/upload " in line else finished if b":finish " in line else KEPT)

    return handler


@contextmanager
def sent_to(url: str, finished: bytes = KEPT) -> Iterator[tuple[HttpStore, Misbehaving]]:
    forget_warnings()
    with (
        Misbehaving(offering(answer(encode(offer_of(url))), finished)) as server,
        closing(HttpStore(server.url)) as store,
    ):
        yield store, server


def asked(server: Misbehaving) -> list[str]:
    """What a store was asked: for an address, to finish, to take the blob itself."""
    paths = [request.split(b" ")[1].decode() for request in server.asked]
    ends = [path.rpartition("/")[2].rpartition(":")[2] for path in paths]
    return ["put" if end == DIGEST else end for end in ends]


def put(store: HttpStore, seconds: float = LONG_S) -> None:
    assert store.put_blob(DIGEST, DATA, Deadline(seconds)) == len(PACKED)


def test_a_good_bucket_gets_the_frame_and_its_connection_is_kept() -> None:
    connections: list[socket.socket] = []

    def bucket(sock: socket.socket, server: Misbehaving) -> None:
        connections.append(sock)
        for _ in requests(sock, server):
            sock.sendall(answer(b""))

    with Misbehaving(bucket) as there, sent_to(f"{there.url}/key?X-Amz-Signature=ab%2Fcd") as (store, server):
        for _ in range(3):
            put(store)
        assert asked(server) == ["upload", "finish"] * 3
    assert len(connections) == 1
    for each in there.asked:
        head, _, body = each.partition(b"\r\n\r\n")
        assert head.startswith(b"PUT /key?X-Amz-Signature=ab%2Fcd HTTP/1.1\r\n")
        assert b"Content-Type: application/zstd" in head
        assert body == PACKED


@pytest.mark.parametrize(
    "bucket",
    [
        always(answer(b"<Error/>", b"403 Forbidden")),
        always(answer(b"<Error/>", b"404 Not Found")),
        always(answer(b"<Error/>", b"500 Internal Server Error")),
        always(answer(b"", b"307 Temporary Redirect", headers=b"Location: http://127.0.0.1:1/\r\n")),
        always(answer(b"", length=100), hang_up=True),
        always(answer(bytes(1 << 20))),
        always(b"nonsense\r\n\r\n", hang_up=True),
    ],
    ids=["denied", "gone", "failing", "sends us on", "ends early", "too much", "nonsense"],
)
def test_what_the_bucket_does_not_take_the_store_takes(bucket: Handler) -> None:
    with Misbehaving(bucket) as there, sent_to(f"{there.url}/key?signed") as (store, server):
        for _ in range(2):
            put(store)
        assert asked(server) == ["upload", "put", "put"]
    assert len(there.asked) == 1


@pytest.mark.parametrize(
    "url", ["", "/v1/elsewhere", "ftp://bucket/key", "http://", "http://me:pw@bucket/", "http://a:x/"]
)
def test_an_address_that_is_none(url: str) -> None:
    with sent_to(url) as (store, server):
        put(store)
        assert asked(server) == ["upload", "put"]


def test_a_bucket_that_nobody_reaches_is_told_of_without_its_address(
    caplog: pytest.LogCaptureFixture,
) -> None:
    with refused() as url, sent_to(f"{url}/key?X-Amz-Signature=secret") as (store, server):
        with caplog.at_level(logging.WARNING):
            for _ in range(3):
                put(store)
        assert asked(server) == ["upload", "put", "put", "put"]
    (told,) = caplog.messages
    assert url in told
    assert "secret" not in told


@pytest.mark.parametrize(
    "bucket",
    [silent, dripping(b"H"), dripping(b"x", answer(b"", length=20000))],
    ids=["silent", "headers", "body"],
)
def test_a_bucket_that_hangs_leaves_the_store_its_half(bucket: Handler) -> None:
    with Misbehaving(bucket) as there, sent_to(f"{there.url}/key?signed") as (store, server):
        put(store, SHORT_S)
        assert asked(server) == ["upload", "put"]
        assert not there.over.is_set()


@pytest.mark.parametrize("error", [NotFound(), DigestMismatch()], ids=["not found", "other bytes"])
def test_what_the_store_does_not_find_there_it_is_sent(error: NotFound | DigestMismatch) -> None:
    """And the way is left alone for a while: no blob is sent twice again and again."""
    with (
        Misbehaving(always(answer(b""))) as there,
        sent_to(f"{there.url}/key?signed", refusal(error)) as (store, server),
    ):
        for _ in range(2):
            put(store)
        assert asked(server) == ["upload", "finish", "put", "put"]


def test_a_store_that_offers_nothing_is_asked_once() -> None:
    """An older store has no such address."""
    forget_warnings()
    with (
        Misbehaving(offering(refusal(NotFound()))) as server,
        closing(HttpStore(server.url)) as store,
    ):
        for _ in range(3):
            put(store)
        assert asked(server) == ["upload", "put", "put", "put"]


def test_an_answer_that_is_no_offer() -> None:
    forget_warnings()
    with (
        Misbehaving(offering(answer(b'{"url": 1}'))) as server,
        closing(HttpStore(server.url)) as store,
    ):
        put(store)
        assert asked(server) == ["upload", "put"]


def test_a_bucket_is_tried_again_after_a_while() -> None:
    clock = FakeClock()
    with (
        Misbehaving(always(answer(b""))) as there,
        refused() as nowhere,
        Misbehaving(offering(answer(encode(offer_of("unused"))))) as server,
        closing(Exchange(server.url, CircuitBreaker())) as exchange,
        closing(BucketWriter(exchange, CircuitBreaker(failures_max=1, clock=clock))) as bucket,
    ):
        with pytest.raises(StoreUnavailable):
            bucket.write(DIGEST, offer_of(f"{nowhere}/key?signed"), PACKED, Deadline(LONG_S))
        assert bucket.is_left_alone
        with pytest.raises(BreakerOpen):
            bucket.write(DIGEST, offer_of(f"{there.url}/key?signed"), PACKED, Deadline(LONG_S))
        assert not there.asked
        clock.pass_by(3600)
        assert not bucket.is_left_alone
        wanted = UploadWanted(size=len(DATA), packed_size=len(PACKED))
        assert bucket.offer(DIGEST, wanted, Deadline(LONG_S)) == offer_of("unused")
        bucket.write(DIGEST, offer_of(f"{there.url}/key?signed"), PACKED, Deadline(LONG_S))
        assert asked(server) == ["upload", "finish"]
