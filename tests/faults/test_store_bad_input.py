"""Bad input, a line each: a stable code in problem+json, and nothing is stored.

Slow and silent senders are in `test_store_senders.py`, clocks of replicas that race for a lease in
`test_store_single_flight.py`, more shapes of nonsense beside what they are about.
"""

from __future__ import annotations

import secrets
import socket
import time
from collections.abc import Iterator
from dataclasses import dataclass
from urllib.parse import urlsplit

import pytest
from inductory_client.contract import wire
from inductory_client.contract.artifact import Artifact
from inductory_client.contract.blob import pack
from inductory_client.contract.digest import digest_of
from inductory_client.contract.lease import Heartbeat, Lease, Leased, LeasesRenewed, LeasesWanted
from inductory_client.contract.wire import Event, Events, EventsStored
from store_messages import Talk, artifact, descriptor, problem

DATA = b"the bytes of a blob" * 100
"""Nobody ever sends them as they are."""
PUBLISHED = b"what an artifact loads"
HOUR_S = 3600.0


@pytest.fixture
def talk(any_store_url: str) -> Iterator[Talk]:
    talk = Talk(any_store_url, f"bad-{secrets.token_hex(4)}")
    yield talk
    talk.http.close()


def unpublished(talk: Talk) -> Artifact:
    """An artifact whose blob is there, and which isn't."""
    assert talk.put_blob(PUBLISHED).is_success
    return artifact([descriptor(PUBLISHED)])


def lease_of(talk: Talk, key: str, holder: str) -> Lease:
    wanted = wire.encode(LeasesWanted(holder=holder, keys=(key,), seconds=30.0))
    (granted,) = wire.decode(talk.http.post("/v1/leases", content=wanted).content, Leased).granted
    return granted


def answer_to(talk: Talk, sent: bytes, *, hang_up: bool = False) -> bytes:
    """All that comes back on a connection that says this, and then nothing."""
    parts = urlsplit(talk.url)
    with socket.create_connection((parts.hostname, parts.port), timeout=60) as sender:
        sender.sendall(sent)
        if hang_up:
            sender.shutdown(socket.SHUT_WR)
        return b"".join(iter(lambda: sender.recv(65536), b""))


def refused(answer: bytes, status: int, code: str) -> None:
    head, _, body = answer.partition(b"\r\n\r\n")
    assert head.startswith(f"HTTP/1.1 {status} ".encode()), answer
    assert b"content-type: application/problem+json" in head
    assert wire.decode(body, wire.Problem).code == code


@dataclass(frozen=True)
class Upload:
    """A blob that isn't what is said of it."""

    said: bytes
    headers: dict[str, str]
    sent: bytes
    status: int
    code: str


UPLOADS = {
    "a wrong digest": Upload(b"others", {}, DATA, 422, "digest_mismatch"),
    "a wrong digest, packed": Upload(
        b"others", {"Content-Encoding": "zstd", wire.SIZE_HEADER: "1900"}, pack(DATA), 422, "digest_mismatch"
    ),
    "shorter than it says": Upload(DATA, {wire.SIZE_HEADER: "1900"}, DATA[:-1], 422, "size_mismatch"),
    "longer than it says": Upload(DATA, {wire.SIZE_HEADER: "1900"}, DATA + b"!", 422, "size_mismatch"),
    "a frame cut short": Upload(
        DATA, {"Content-Encoding": "zstd", wire.SIZE_HEADER: "1900"}, pack(DATA)[:-4], 422, "corrupt"
    ),
    "a frame and more": Upload(
        DATA, {"Content-Encoding": "zstd", wire.SIZE_HEADER: "1900"}, pack(DATA) + b"!", 422, "corrupt"
    ),
    "an encoding that nobody knows": Upload(
        DATA, {"Content-Encoding": "br"}, DATA, 415, "unsupported_media_type"
    ),
}


@pytest.mark.parametrize("upload", UPLOADS.values(), ids=UPLOADS.keys())
def test_a_blob_that_is_not_what_it_says(talk: Talk, upload: Upload) -> None:
    address = f"/v1/blobs/{digest_of(upload.said)}"
    problem(talk.http.put(address, content=upload.sent, headers=upload.headers), upload.status, upload.code)
    problem(talk.http.get(address), 404, "not_found")


@pytest.mark.parametrize("address", [f"/v1/blobs/{digest_of(DATA + b'!')}", f"/v1/artifacts/{'ab' * 32}"])
def test_chunks_without_an_end(talk: Talk, address: str) -> None:
    """The sender hangs up before the chunk that ends the body."""
    head = f"PUT {address} HTTP/1.1\r\nHost: store\r\nTransfer-Encoding: chunked\r\n"
    answer = answer_to(talk, f"{head}{wire.SIZE_HEADER}: 9\r\n\r\n4\r\nhalf\r\n".encode(), hang_up=True)
    refused(answer, 400, "malformed")
    problem(talk.http.get(address), 404, "not_found")


@pytest.mark.parametrize("sent", ["4\r\nhalf\r\nmore\r\n", "-1\r\n", "9" * 40 + "\r\n"])
def test_chunks_of_no_size(talk: Talk, sent: str) -> None:
    address = f"/v1/blobs/{digest_of(DATA + b'!')}"
    head = f"PUT {address} HTTP/1.1\r\nHost: store\r\nTransfer-Encoding: chunked\r\n"
    refused(answer_to(talk, f"{head}{wire.SIZE_HEADER}: 9\r\n\r\n{sent}".encode()), 400, "malformed")
    problem(talk.http.get(address), 404, "not_found")


@pytest.mark.parametrize(
    "sent",
    [
        b"hello, is this the store?\r\n\r\n",
        b"GET /healthz HTTP/1.1\r\nHost store\r\n\r\n",
        b"PUT /v1/events HTTP/1.1\r\nHost: store\r\nContent-Length: 9 apples\r\n\r\n",
    ],
)
def test_no_http_at_all(talk: Talk, sent: bytes) -> None:
    refused(answer_to(talk, sent), 400, "malformed")


@pytest.mark.parametrize("media_type", ["text/plain", "application/x-www-form-urlencoded", "json", ""])
def test_a_message_of_another_media_type(talk: Talk, media_type: str) -> None:
    value = unpublished(talk)
    headers = {"Content-Type": media_type}
    answer = talk.http.put(f"/v1/artifacts/{value.key}", content=wire.encode(value), headers=headers)
    problem(answer, 415, "unsupported_media_type")
    assert talk.resolve(value.key).hits == ()
    headers = {"Content-Type": "application/json; charset=utf-8"}
    answer = talk.http.put(f"/v1/artifacts/{value.key}", content=wire.encode(value), headers=headers)
    assert answer.status_code == 201


def test_a_cursor_from_elsewhere(talk: Talk) -> None:
    """One of another listing of this very store."""
    for graph in ("one", "two"):
        talk.publish(PUBLISHED, graph)
    page = wire.decode(talk.http.get("/v1/artifacts", params={"limit": 1}).content, wire.LookupPage)
    assert page.next is not None
    problem(talk.http.get("/v1/builds", params={"cursor": page.next}), 400, "malformed")
    problem(talk.http.get("/v1/artifacts", params={"cursor": page.next[:-3]}), 400, "malformed")
    others = {"cursor": page.next, "backend": "inductor"}
    problem(talk.http.get("/v1/artifacts", params=others), 400, "malformed")
    again = talk.http.get("/v1/artifacts", params={"cursor": page.next, "limit": 2})
    assert len(wire.decode(again.content, wire.LookupPage).entries) == 1


def test_a_lease_of_another_holder(talk: Talk) -> None:
    value = unpublished(talk)
    lease_of(talk, value.key, "first")
    problem(talk.put_artifact(value), 409, "lease_held")
    problem(talk.put_artifact(value, lease=secrets.token_hex(16)), 409, "stale_lease")
    assert talk.resolve(value.key).hits == ()


def test_a_token_gone_stale(talk: Talk) -> None:
    """It was given back, and somebody else has the lease by now."""
    value = unpublished(talk)
    stale = lease_of(talk, value.key, "first")
    ended = wire.encode({"leases": [{"key": value.key, "token": stale.token}]})
    assert talk.http.post("/v1/leases:release", content=ended).status_code == 200
    fresh = lease_of(talk, value.key, "second")
    problem(talk.put_artifact(value, lease=stale.token), 409, "stale_lease")
    renewed = wire.encode(Heartbeat(leases=(stale,), seconds=30.0))
    answer = talk.http.post("/v1/leases:renew", content=renewed)
    assert wire.decode(answer.content, LeasesRenewed).keys == ()
    assert talk.resolve(value.key).hits == ()
    assert talk.put_artifact(value, lease=fresh.token).status_code == 201


@pytest.mark.parametrize("off_s", [HOUR_S, -HOUR_S], ids=["fast", "slow"])
def test_a_client_whose_clock_is_an_hour_off(talk: Talk, off_s: float) -> None:
    """Its events are taken, and counted once; no other message of a client's names an instant."""
    event = Event(kind="hit", at=time.time() + off_s)
    stored = talk.http.post("/v1/events", content=wire.encode(Events(events=(event,))))
    assert wire.decode(stored.content, EventsStored).stored == 1


@pytest.mark.parametrize(
    "at", [-1.0, 1e15, 1e300], ids=["before the epoch", "past the year 9999", "for ever"]
)
def test_an_event_of_no_time_at_all(talk: Talk, at: float) -> None:
    body = f'{{"events":[{{"kind":"hit","at":{at!r}}}]}}'
    problem(talk.http.post("/v1/events", content=body), 400, "malformed")
