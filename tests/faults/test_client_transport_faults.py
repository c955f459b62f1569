"""What the transport makes of stores that misbehave: an error of ours, before the deadline, and never a
hang.
"""

from __future__ import annotations

import json
import socket
import threading
from types import SimpleNamespace

import pytest
from client_samples import FakeClock
from inductory_client import connection
from inductory_client.breaker import CircuitBreaker
from inductory_client.contract.blob import pack
from inductory_client.contract.digest import digest_of
from inductory_client.contract.errors import (
    BreakerOpen,
    Corrupt,
    DeadlineExceeded,
    DigestMismatch,
    InductoryError,
    NotFound,
    SizeMismatch,
    StorageFull,
    StoreUnavailable,
    TooLarge,
)
from inductory_client.contract.wire import Events, Resolve
from inductory_client.deadline import Deadline
from inductory_client.transport import HttpStore
from misbehaving import Handler, Misbehaving, always, answer, dripping, refused, requests, silent

DATA = b"the payload of a piece" * 100
DIGEST = digest_of(DATA)
ZSTD = b"Content-Encoding: zstd\r\n"
BLOB = b"application/octet-stream"
CHUNKED = b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n"
SHORT_S = 0.1
LONG_S = 60.0


def patient() -> CircuitBreaker:
    """A breaker that stays out of the way."""
    return CircuitBreaker(failures_max=1000)


def get_blob(handler: Handler, seconds: float = LONG_S) -> bytes:
    with Misbehaving(handler) as server:
        return HttpStore(server.url, breaker=patient()).get_blob(DIGEST, len(DATA), Deadline(seconds))


def blob(body: bytes, headers: bytes = b"", **changes: int) -> Handler:
    return always(answer(body, kind=BLOB, headers=headers, **changes))


def test_a_good_answer_is_good_packed_or_not() -> None:
    assert get_blob(blob(DATA)) == DATA
    assert get_blob(blob(pack(DATA), ZSTD)) == DATA


def test_chunks_are_read_and_the_connection_is_kept() -> None:
    chunked = CHUNKED + b"%x\r\n%s\r\n0\r\n\r\n" % (len(DATA), DATA)
    connections: list[socket.socket] = []

    def handler(sock: socket.socket, server: Misbehaving) -> None:
        connections.append(sock)
        for _ in requests(sock, server):
            sock.sendall(chunked)

    with Misbehaving(handler) as server:
        store = HttpStore(server.url)
        assert [store.get_blob(DIGEST, len(DATA)) for _ in range(3)] == [DATA] * 3
        store.close()
    assert len(connections) == 1


def test_nobody_listens() -> None:
    with refused() as url, pytest.raises(StoreUnavailable, match=url):
        HttpStore(url).ready()


@pytest.mark.parametrize(
    "handler",
    [
        silent,
        dripping(b"H"),
        dripping(b"X-More: 1\r\n", b"HTTP/1.1 200 OK\r\n"),
        dripping(b"x", answer(b"", length=1 << 20)),
        dripping(b"1\r\nx\r\n", CHUNKED),
        dripping(b"0", CHUNKED),
    ],
    ids=["silent", "status", "headers", "body", "chunks", "chunk size"],
)
def test_no_call_outlives_its_deadline(handler: Handler) -> None:
    """The server is still at it when the call has returned: it is told to stop only afterwards."""
    with Misbehaving(handler) as server:
        store = HttpStore(server.url)
        # Dripping headers may pass http.client's limit on their number first.
        with pytest.raises((DeadlineExceeded, StoreUnavailable)):
            store.ready(Deadline(SHORT_S))
        assert not server.over.is_set()


def test_every_wait_asks_the_deadline() -> None:
    """By a clock that moves with every look at it: the call ends after so many looks, however fast the drops
    come.
    """
    clock = FakeClock()

    def ticking() -> float:
        clock.pass_by(1.0)
        return clock.now

    with Misbehaving(dripping(b"x", answer(b"", length=1 << 20))) as server:
        with pytest.raises(DeadlineExceeded):
            HttpStore(server.url).ready(Deadline(50.0, ticking))
        assert clock.now < 1100


def test_a_store_that_never_reads_holds_nobody() -> None:
    def deaf(sock: socket.socket, server: Misbehaving) -> None:
        server.over.wait()

    data = bytes(range(256)) * (32 << 10)
    with Misbehaving(deaf) as server, pytest.raises(DeadlineExceeded):
        HttpStore(server.url).put_blob(digest_of(data), _noise(16 << 20), Deadline(SHORT_S))


def _noise(size: int) -> bytes:
    import random

    return random.Random(0).randbytes(size)


def test_a_name_that_takes_for_ever_to_look_up(monkeypatch: pytest.MonkeyPatch) -> None:
    """A resolver can't be made slow from here, so the call that asks it is."""
    released, asked = threading.Event(), threading.Event()

    def slow(*_: object, **__: object) -> socket.socket:
        asked.set()
        released.wait(LONG_S)
        raise OSError("too late")

    monkeypatch.setattr(connection.socket, "create_connection", slow)
    store = HttpStore("http://store.example:8765", breaker=patient())
    with pytest.raises(DeadlineExceeded):
        store.ready(Deadline(SHORT_S))
    assert asked.is_set()
    for _ in range(connection.OPENING_MAX - 1):
        with pytest.raises(DeadlineExceeded):
            store.ready(Deadline(0.01))
    with pytest.raises(StoreUnavailable, match="too many"):
        store.ready(Deadline(LONG_S))
    released.set()
    for _ in range(connection.OPENING_MAX):
        assert connection._openings.free.acquire(timeout=LONG_S), "what was left behind ends some time"
    for _ in range(connection.OPENING_MAX):
        connection._openings.free.release()


def test_connections_open_while_the_interpreter_ends(monkeypatch: pytest.MonkeyPatch) -> None:
    """From Python 3.12 on no thread starts any more then, and uploads are still to be finished."""
    with Misbehaving(blob(DATA)) as server:
        store = HttpStore(server.url)
        monkeypatch.setattr(
            connection, "threading", SimpleNamespace(**{**vars(threading), "Thread": _Unstartable})
        )
        assert store.get_blob(DIGEST, len(DATA)) == DATA
        store.close()


class _Unstartable(threading.Thread):
    def start(self) -> None:
        raise RuntimeError("can't create new thread at interpreter shutdown")


@pytest.mark.parametrize(
    ("data", "error"),
    [
        (b"", StoreUnavailable),
        (b"\x16\x03\x01 this isn't HTTP\r\n\r\n", StoreUnavailable),
        (b"HTTP/1.1 200 OK\r\n" + b"A" * 70_000, StoreUnavailable),
        (b"HTTP/1.1 200 OK\r\n" + b"X: 1\r\n" * 200 + b"\r\n", StoreUnavailable),
        (answer(b"{}", length=1000), StoreUnavailable),
        (answer(b"<html>hello</html>"), StoreUnavailable),
        (answer(b'{"status":"ok","version":"1","checks":{},"surprise":1}'), StoreUnavailable),
        (answer(b'{"status":"ok","version":1,"checks":{}}'), StoreUnavailable),
        (answer(b"[" * 100_000), StoreUnavailable),
        (answer(b"\xff\xfe"), StoreUnavailable),
        (answer(b"oops", b"500 Internal Server Error"), StoreUnavailable),
        (answer(b"", b"302 Found", headers=b"Location: http://127.0.0.1:1/\r\n"), StoreUnavailable),
        (answer(b"x", length=1 << 40), StoreUnavailable),
        (CHUNKED + b"zz\r\n", StoreUnavailable),
        (CHUNKED + b"5\r\nab", StoreUnavailable),
    ],
)
def test_garbage_is_an_unavailable_store(data: bytes, error: type[InductoryError]) -> None:
    with Misbehaving(always(data, hang_up=True)) as server, pytest.raises(error):
        HttpStore(server.url).ready(Deadline(LONG_S))


def test_an_endless_answer_is_cut_off() -> None:
    def endless(sock: socket.socket, server: Misbehaving) -> None:
        for _ in requests(sock, server):
            sock.sendall(b"HTTP/1.1 200 OK\r\nConnection: close\r\n\r\n")
            while not server.over.is_set():
                sock.sendall(b"x" * (1 << 20))

    with Misbehaving(endless) as server, pytest.raises(TooLarge):
        HttpStore(server.url).ready(Deadline(LONG_S))


def test_the_stores_own_errors_come_back_as_they_were() -> None:
    problem = {
        "type": "about:blank",
        "title": "x",
        "status": 404,
        "code": "not_found",
        "detail": "no such build",
        "retryable": False,
    }
    body = json.dumps(problem).encode()
    answered = answer(body, b"404 Not Found", b"application/problem+json")
    with Misbehaving(always(answered)) as server:
        store = HttpStore(server.url, breaker=CircuitBreaker(failures_max=1))
        for _ in range(2):
            with pytest.raises(NotFound, match="no such build"):
                store.get_build("ab" * 32)


def test_a_body_that_is_refused_unread_says_why() -> None:
    problem = {
        "type": "about:blank",
        "title": "x",
        "status": 507,
        "code": "storage_full",
        "detail": "full",
        "retryable": False,
    }
    body = json.dumps(problem).encode()

    def refuses(sock: socket.socket, server: Misbehaving) -> None:
        sock.recv(1000)
        sock.sendall(answer(body, b"507 Insufficient Storage", b"application/problem+json"))
        sock.shutdown(socket.SHUT_WR)
        while sock.recv(1 << 20):
            pass

    with Misbehaving(refuses) as server, pytest.raises(StorageFull, match="full"):
        HttpStore(server.url).put_blob(DIGEST, _noise(1 << 20), Deadline(LONG_S))


@pytest.mark.parametrize(
    ("handler", "error"),
    [
        (blob(b"x" * len(DATA)), DigestMismatch),
        (blob(bytes([DATA[0] ^ 1]) + DATA[1:]), DigestMismatch),
        (blob(DATA[:-1]), SizeMismatch),
        (blob(b""), SizeMismatch),
        (blob(DATA[:-1], length=len(DATA)), (StoreUnavailable, DeadlineExceeded)),
        (blob(DATA * 10), TooLarge),
        (blob(pack(DATA)[:-5], ZSTD), Corrupt),
        (blob(b"not zstd at all", ZSTD), Corrupt),
        (blob(pack(DATA) + b"more", ZSTD), Corrupt),
        (blob(pack(bytes(1 << 28)), ZSTD), (SizeMismatch, TooLarge)),
        (blob(pack(DATA[:-1] + b"!"), ZSTD), DigestMismatch),
    ],
    ids=[
        "swapped",
        "flipped",
        "truncated",
        "empty",
        "cut",
        "grown",
        "cut zstd",
        "no zstd",
        "two frames",
        "bomb",
        "packed flip",
    ],
)
def test_a_wrong_blob_is_never_returned(
    handler: Handler, error: type[InductoryError] | tuple[type[InductoryError], ...]
) -> None:
    with pytest.raises(error):
        get_blob(handler, 1.0)


def test_a_kept_connection_that_was_closed_is_replaced() -> None:
    """As by a server that restarts, or that keeps connections for a shorter time than we do."""
    first_is_closed = threading.Event()

    def closes_after_one(sock: socket.socket, server: Misbehaving) -> None:
        for _ in requests(sock, server):
            sock.sendall(answer(DATA, kind=BLOB))
            sock.shutdown(socket.SHUT_RDWR)
            first_is_closed.set()
            return

    with Misbehaving(closes_after_one) as server:
        store = HttpStore(server.url)
        for _ in range(3):
            assert store.get_blob(DIGEST, len(DATA)) == DATA
            assert first_is_closed.wait(LONG_S)
        store.close()
        assert len(server.asked) == 3


def test_nonsense_opens_the_breaker_too() -> None:
    with Misbehaving(always(answer(b"<html>a captive portal</html>"))) as server:
        store = HttpStore(server.url, breaker=CircuitBreaker(2, 15.0, FakeClock()))
        for _ in range(2):
            with pytest.raises(StoreUnavailable, match="nonsense"):
                store.builds()
        with pytest.raises(BreakerOpen):
            store.builds()


def test_a_failing_store_is_left_alone_and_then_asked_again() -> None:
    clock = FakeClock()
    good = threading.Event()

    def handler(sock: socket.socket, server: Misbehaving) -> None:
        for _ in requests(sock, server):
            body = b'{"hits":[],"misses":[]}'
            sock.sendall(answer(body) if good.is_set() else answer(b"", b"503 Service Unavailable"))

    with Misbehaving(handler) as server:
        store = HttpStore(server.url, breaker=CircuitBreaker(3, 15.0, clock))
        message = Resolve(artifacts=())
        for _ in range(3):
            with pytest.raises(StoreUnavailable):
                store.resolve(message)
        for _ in range(10):
            with pytest.raises(BreakerOpen):
                store.resolve(message)
        assert len(server.asked) == 3
        clock.pass_by(15)
        with pytest.raises(StoreUnavailable):
            store.resolve(message)
        good.set()
        with pytest.raises(BreakerOpen):
            store.resolve(message)
        clock.pass_by(15)
        store.resolve(message)
        store.resolve(message)
        assert len(server.asked) == 6
        store.close()


@pytest.mark.parametrize(
    ("body", "error"),
    [
        (b"", Corrupt),
        (b"INDBNDL1", Corrupt),
        (b"NOTABNDL" + bytes(64), Corrupt),
        (b"INDBNDL1" + b"\1" * 64, (Corrupt, TooLarge)),
    ],
)
def test_a_bundle_that_is_none(body: bytes, error: type[InductoryError]) -> None:
    with Misbehaving(always(answer(body), hang_up=True)) as server, pytest.raises(error):
        list(HttpStore(server.url).bundle("ab" * 32, lambda index: {}, deadline=Deadline(LONG_S)))


def test_events_are_never_sent_twice() -> None:
    """A kept connection that breaks may have carried them already, and they would be counted again."""

    def breaks_at_events(sock: socket.socket, server: Misbehaving) -> None:
        for request in requests(sock, server):
            if b"/v1/events" in request:
                return  # read, and no answer
            sock.sendall(answer(DATA, kind=BLOB))

    with Misbehaving(breaks_at_events) as server:
        store = HttpStore(server.url)
        assert store.get_blob(DIGEST, len(DATA)) == DATA
        with pytest.raises(StoreUnavailable):
            store.post_events(Events(events=()), Deadline(LONG_S))
        store.close()
        assert sum(b"/v1/events" in request for request in server.asked) == 1
