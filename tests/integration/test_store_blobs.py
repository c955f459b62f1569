"""Blobs over HTTP: headers, ranges, encodings, bounds."""

from __future__ import annotations

import socket
from collections.abc import Iterator
from pathlib import Path
from urllib.parse import urlsplit

import httpx
import pytest
from inductory_client.contract import wire
from inductory_client.contract.blob import pack, unpack
from inductory_client.contract.digest import digest_of
from store_messages import Talk, problem
from store_process import StoreProcess

DATA = b"0123456789" * 1000


@pytest.fixture
def talk(any_store_url: str) -> Iterator[Talk]:
    talk = Talk(any_store_url, "blobs")
    yield talk
    talk.http.close()


@pytest.fixture
def address(talk: Talk) -> str:
    """The address of a blob that is there."""
    assert talk.put_blob(DATA).is_success
    return f"/v1/blobs/{digest_of(DATA)}"


def identity(**headers: str) -> dict[str, str]:
    return {"Accept-Encoding": "identity", **{name.replace("_", "-"): text for name, text in headers.items()}}


def test_a_new_blob_is_201_and_then_200(talk: Talk) -> None:
    data = b"seen once, then again"
    address = f"/v1/blobs/{digest_of(data)}"
    assert talk.http.put(address, content=data).status_code == 201
    assert talk.http.put(address, content=data).status_code == 200
    assert talk.put_blob(data).status_code == 200
    assert talk.http.get(address).content == data


def test_a_body_of_unknown_length_needs_its_size(talk: Talk) -> None:
    data = b"sent in chunks"
    address = f"/v1/blobs/{digest_of(data)}"
    problem(talk.http.put(address, content=iter([data])), 411, "length_required")
    problem(
        talk.http.put(address, content=pack(data), headers={"Content-Encoding": "zstd"}),
        411,
        "length_required",
    )
    sized = {wire.SIZE_HEADER: str(len(data))}
    assert talk.http.put(address, content=iter([data[:3], data[3:]]), headers=sized).status_code == 201
    assert talk.http.get(address).content == data


def test_headers_of_a_blob(talk: Talk, address: str) -> None:
    for method in ("GET", "HEAD"):
        answer = talk.http.request(method, address, headers=identity())
        assert answer.status_code == 200
        assert answer.headers["etag"] == f'"{digest_of(DATA)}"'
        assert answer.headers["content-length"] == str(len(DATA))
        assert answer.headers["accept-ranges"] == "bytes"
        assert "immutable" in answer.headers["cache-control"]
        assert answer.headers["vary"] == "Accept-Encoding"
        assert "content-encoding" not in answer.headers
        assert answer.content == (DATA if method == "GET" else b"")


def test_zstd_is_sent_to_who_takes_it(talk: Talk, address: str) -> None:
    with talk.http.stream("GET", address, headers={"Accept-Encoding": "gzip, zstd;q=0.5"}) as answer:
        packed = b"".join(answer.iter_raw())
    assert answer.headers["content-encoding"] == "zstd"
    assert answer.headers["etag"] == f'"{digest_of(DATA)}.zst"'
    assert answer.headers[wire.SIZE_HEADER] == str(len(DATA))
    assert int(answer.headers["content-length"]) == len(packed) < len(DATA)
    assert unpack(packed, len(DATA)) == DATA
    head = talk.http.head(address, headers={"Accept-Encoding": "zstd"})
    assert head.headers["content-length"] == str(len(packed))
    refused = talk.http.get(address, headers={"Accept-Encoding": "zstd;q=0"})
    assert "content-encoding" not in refused.headers


def test_ranges(talk: Talk, address: str) -> None:
    answer = talk.http.get(address, headers={"Range": "bytes=5-14", "Accept-Encoding": "zstd"})
    assert (answer.status_code, answer.content) == (206, DATA[5:15])
    assert answer.headers["content-range"] == f"bytes 5-14/{len(DATA)}"
    assert answer.headers["etag"] == f'"{digest_of(DATA)}"'
    tail = talk.http.get(address, headers=identity(Range="bytes=-3"))
    assert (tail.status_code, tail.content) == (206, DATA[-3:])
    outside = talk.http.get(address, headers=identity(Range=f"bytes={len(DATA)}-"))
    problem(outside, 416, "range_not_satisfiable")
    assert outside.headers["content-range"] == f"bytes */{len(DATA)}"


def test_a_range_of_something_else_gives_all(talk: Talk, address: str) -> None:
    same = talk.http.get(address, headers=identity(Range="bytes=0-1", If_Range=f'"{digest_of(DATA)}"'))
    assert same.status_code == 206
    other = talk.http.get(address, headers=identity(Range="bytes=0-1", If_Range=f'"{"0" * 64}"'))
    assert (other.status_code, other.content) == (200, DATA)


def test_who_has_it_is_told_so(talk: Talk, address: str) -> None:
    etag = f'"{digest_of(DATA)}"'
    for header in (etag, f'"other", {etag}', "*", f"W/{etag}"):
        answer = talk.http.get(address, headers=identity(If_None_Match=header))
        assert (answer.status_code, answer.content) == (304, b"")
        assert answer.headers["etag"] == etag
    assert talk.http.get(address, headers=identity(If_None_Match='"other"')).status_code == 200
    # The two forms are two representations: one's ETag doesn't stand for the other.
    packed = talk.http.get(address, headers={"Accept-Encoding": "zstd", "If-None-Match": etag})
    assert packed.status_code == 200


def test_missing_blobs_are_named_once_in_order(talk: Talk, address: str) -> None:
    wanted = wire.BlobsWanted(digests=("ff" * 32, digest_of(DATA), "00" * 32, "ff" * 32))
    answer = talk.http.post("/v1/blobs:missing", content=wire.encode(wanted))
    assert wire.decode(answer.content, wire.BlobsMissing).missing == ("ff" * 32, "00" * 32)


def test_a_large_blob_goes_through_in_a_stream(talk: Talk) -> None:
    data = bytes(range(256)) * 80_000  # 20 MB: past what is verified in memory
    digest = digest_of(data)
    assert talk.http.put(f"/v1/blobs/{digest}", content=data).status_code == 201
    assert talk.http.get(f"/v1/blobs/{digest}", headers=identity()).content == data
    with talk.http.stream("GET", f"/v1/blobs/{digest}", headers={"Accept-Encoding": "zstd"}) as answer:
        assert unpack(b"".join(answer.iter_raw()), len(data)) == data
    part = talk.http.get(f"/v1/blobs/{digest}", headers=identity(Range="bytes=19999990-"))
    assert part.content == data[19_999_990:]


@pytest.mark.parametrize(
    ("headers", "content", "status", "code"),
    [
        ({}, b"other bytes", 422, "digest_mismatch"),
        ({wire.SIZE_HEADER: "3"}, DATA, 422, "size_mismatch"),
        ({wire.SIZE_HEADER: "99999"}, DATA, 422, "size_mismatch"),
        ({wire.SIZE_HEADER: "-1"}, DATA, 400, "malformed"),
        ({wire.SIZE_HEADER: "many"}, DATA, 400, "malformed"),
        ({wire.SIZE_HEADER: str(2 << 30)}, DATA, 413, "too_large"),
        ({"Content-Encoding": "gzip"}, DATA, 415, "unsupported_media_type"),
        ({"Content-Encoding": "zstd", wire.SIZE_HEADER: "10000"}, DATA, 422, "corrupt"),
        ({"Content-Encoding": "zstd", wire.SIZE_HEADER: "10000"}, b"", 422, "corrupt"),
        (
            {"Content-Encoding": "zstd", wire.SIZE_HEADER: "10000"},
            pack(bytes(10_000_000)),
            422,
            "size_mismatch",
        ),
    ],
)
def test_bad_uploads(talk: Talk, headers: dict[str, str], content: bytes, status: int, code: str) -> None:
    digest = digest_of(b"what nobody ever sends")
    problem(talk.http.put(f"/v1/blobs/{digest}", content=content, headers=headers), status, code)
    problem(talk.http.get(f"/v1/blobs/{digest}"), 404, "not_found")


@pytest.mark.parametrize("name", ["x", "AB" * 32, "ab" * 31, "..%2f..%2fetc%2fpasswd"])
def test_a_name_that_is_no_digest(talk: Talk, name: str) -> None:
    answer = talk.http.get(f"/v1/blobs/{name}")
    assert answer.status_code in (400, 404)
    assert wire.decode(answer.content, wire.Problem).code in ("malformed", "not_found")


def test_the_bound_on_blobs_is_a_setting(tmp_path: Path) -> None:
    data = bytes(1001)
    with (
        StoreProcess(tmp_path / "store", {"INDUCTORY_STORE_BLOB_BYTES_MAX": "1000"}) as store,
        httpx.Client(base_url=store.url) as http,
    ):
        problem(http.put(f"/v1/blobs/{digest_of(data)}", content=data), 413, "too_large")
        assert http.put(f"/v1/blobs/{digest_of(data[:-1])}", content=data[:-1]).status_code == 201


def test_a_sender_that_falls_silent_is_given_up(tmp_path: Path) -> None:
    data = b"never all of it"
    head = (
        f"PUT /v1/blobs/{digest_of(data)} HTTP/1.1\r\nHost: store\r\nContent-Length: {len(data)}\r\n\r\nnever"
    )
    with StoreProcess(tmp_path / "store", {"INDUCTORY_STORE_BODY_IDLE_S": "0.05"}) as store:
        host, _, port = urlsplit(store.url).netloc.partition(":")
        with socket.create_connection((host, int(port)), timeout=60) as connection:
            connection.sendall(head.encode())
            assert connection.recv(4096).startswith(b"HTTP/1.1 504 ")
        assert not list((tmp_path / "store" / "incoming").iterdir())


def test_at_rest_a_blob_can_be_audited_without_the_store(tmp_path: Path) -> None:
    with StoreProcess(tmp_path / "store") as store, httpx.Client(base_url=store.url) as http:
        assert http.put(f"/v1/blobs/{digest_of(DATA)}", content=DATA).status_code == 201
    digest = digest_of(DATA)
    path = tmp_path / "store" / "cas" / "sha256" / digest[:2] / f"{digest}.zst"
    assert digest_of(unpack(path.read_bytes(), len(DATA))) == digest
    assert path.stat().st_mode & 0o077 == 0
