"""Senders that drip, stop half-way or hang up: they cost a bounded time, and nobody else's."""

from __future__ import annotations

import asyncio
import select
import socket
import threading
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from urllib.parse import urlsplit

import httpx
import pytest
from inductory_client.contract import wire
from inductory_client.contract.digest import digest_of
from inductory_store.app import create_app
from inductory_store.blobs.memory import MemoryBlobs
from inductory_store.catalog.migrate import upgrade
from inductory_store.routes.answers import received
from inductory_store.settings import StoreSettings
from msgspec import Struct
from slow_sender import half_sent
from starlette.requests import Request
from starlette.responses import Response
from store_messages import Talk, problem
from store_process import StoreProcess

LONG_BYTES = 2 << 20
DIGEST = digest_of(b"what never arrives")


@pytest.mark.parametrize(("method", "address"), [("PUT", f"/v1/blobs/{DIGEST}"), ("POST", "/v1/events")])
def test_a_drip_of_single_bytes_is_ended(tmp_path: Path, method: str, address: str) -> None:
    environ = {"INDUCTORY_STORE_BODY_IDLE_S": "1", "INDUCTORY_STORE_BODY_BYTES_PER_S_MIN": "1000000"}
    with StoreProcess(tmp_path / "store", environ) as store:
        with half_sent(store.url, method, address, b"[", LONG_BYTES) as sender:
            answer = b""
            for _ in range(600):
                # Each byte comes well within the longest silence.
                if select.select([sender], [], [], 0.05)[0]:
                    while b"}" not in answer and (part := sender.recv(65536)):  # it may come in parts
                        answer += part
                    break
                sender.sendall(b" ")
        assert b" 504 " in answer.split(b"\r\n")[0], "it would have gone on for ever"
        assert b"deadline_exceeded" in answer


@pytest.mark.parametrize(
    ("served", "drip"), [(False, b""), (False, b"GET / HT"), (True, b"G"), (True, b"\r\n")], ids=repr
)
def test_headers_that_never_end_are_given_up(tmp_path: Path, served: bool, drip: bytes) -> None:
    with StoreProcess(tmp_path / "store", {"INDUCTORY_STORE_BODY_IDLE_S": "1"}) as store:
        parts = urlsplit(store.url)
        with socket.create_connection((parts.hostname, parts.port), timeout=60) as sender:
            if served:
                sender.sendall(b"GET /healthz HTTP/1.1\r\nHost: store\r\n\r\n")
                served_with = b""
                while not served_with.endswith(b"ok\n"):  # it may come in parts
                    served_with += sender.recv(65536)
            sender.sendall(drip)
            answer = b"".join(iter(lambda: sender.recv(65536), b""))
    if drip.strip():
        assert b" 504 " in answer.split(b"\r\n")[0]
        assert b"deadline_exceeded" in answer
    else:
        assert answer == b"", "nothing was asked"


@pytest.mark.parametrize("ending", [b"x" * 9, b""], ids=["the rest comes late", "hangs up"])
def test_who_was_refused_before_the_end_is_told_once(tmp_path: Path, ending: bytes) -> None:
    with (
        StoreProcess(tmp_path / "store", {"INDUCTORY_STORE_BODY_IDLE_S": "1"}) as store,
        half_sent(store.url, "PUT", f"/v1/blobs/{DIGEST}x", b"", 9) as sender,
    ):
        answer = sender.recv(65536)
        if ending:
            sender.sendall(ending)
        else:
            sender.shutdown(socket.SHUT_WR)
        answer += b"".join(iter(lambda: sender.recv(65536), b""))
    assert answer.startswith(b"HTTP/1.1 400 ")
    assert answer.count(b"HTTP/1.1 ") == 1, "nothing of it is taken for an answer to what comes next"


def test_long_messages_take_turns_and_short_ones_pass(tmp_path: Path) -> None:
    with StoreProcess(tmp_path / "store", {"INDUCTORY_STORE_MESSAGES_MAX": "1"}) as store:
        talk = Talk(store.url, "default")
        long = wire.encode(wire.BlobsWanted(digests=(DIGEST,))) + b" " * LONG_BYTES
        ask = lambda body: talk.http.post("/v1/blobs:missing", content=body).status_code  # noqa: E731
        with ThreadPoolExecutor(1) as pool:
            with half_sent(store.url, "POST", "/v1/blobs:missing", bytes(1000), LONG_BYTES):
                for _ in range(5):
                    assert ask(long[:100].rstrip()) == 200
                waiting = pool.submit(ask, long)
                for _ in range(20):
                    assert ask(long[:100].rstrip()) == 200
                assert not waiting.done()
            assert waiting.result() == 200
        talk.http.close()


@pytest.mark.parametrize(("method", "address"), [("PUT", f"/v1/blobs/{DIGEST}"), ("POST", "/v1/events")])
def test_a_sender_that_hangs_up_is_no_mistake_of_the_store(tmp_path: Path, method: str, address: str) -> None:
    with StoreProcess(tmp_path / "store") as store:
        for _ in range(3):
            with half_sent(store.url, method, address, b"[1,", LONG_BYTES) as sender:
                assert httpx.get(f"{store.url}/healthz").status_code == 200
                sender.shutdown(socket.SHUT_WR)
                sender.recv(65536)
        store.wait_until(lambda: not list((store.data_dir / "incoming").iterdir()))
        store.stop()
        assert store.log == ""


def test_more_connections_than_allowed_are_refused(tmp_path: Path) -> None:
    with StoreProcess(tmp_path / "store", {"INDUCTORY_STORE_CONNECTIONS_MAX": "4"}) as store:
        parts = urlsplit(store.url)
        idle = [socket.create_connection((parts.hostname, parts.port)) for _ in range(6)]
        problem(httpx.get(f"{store.url}/readyz"), 503, "store_unavailable")
        assert httpx.get(f"{store.url}/healthz").status_code == 200, "it is alive"
        for each in idle:
            each.close()
        store.wait_until(lambda: httpx.get(f"{store.url}/readyz").status_code == 200)


class Probe(Struct):
    """A message that notes where it is decoded, and what it becomes, where it is encoded."""

    threads: list[int]

    def __post_init__(self) -> None:
        self.threads.append(threading.get_ident())


def test_messages_are_decoded_off_the_event_loop(tmp_path: Path) -> None:
    """A message of megabytes would hold up every other request."""
    app = create_app(StoreSettings(data_dir=tmp_path), MemoryBlobs())
    upgrade(app.state.store.catalog.engine)

    async def probe(request: Request) -> Response:
        return await received(request, Probe, lambda probe: probe)

    app.add_route("/probe", probe, methods=["POST"])

    async def ask() -> list[int]:
        transport = httpx.ASGITransport(app)
        async with httpx.AsyncClient(transport=transport, base_url="http://store") as http:
            answer = await http.post("/probe", content=b'{"threads":[]}')
            return list(answer.json()["threads"])

    threads = asyncio.run(ask())
    app.state.store.catalog.close()
    assert len(threads) == 1
    assert threads != [threading.get_ident()]
