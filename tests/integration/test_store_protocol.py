"""What holds for the whole protocol: problems, bounds, health, OpenAPI, start and stop."""

from __future__ import annotations

import signal
import sqlite3
import subprocess
import sys
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path
from typing import Any

import httpx
import pytest
from inductory_client.contract import wire
from inductory_client.contract.blob import pack
from inductory_client.contract.bundle import BundleIndex
from inductory_client.contract.digest import digest_of
from inductory_client.contract.statement import verify_signature
from inductory_client.transport import HttpStore
from store_messages import Talk, artifact, build, descriptor, manifest, problem
from store_process import Database, StoreProcess

KEY = "ab" * 32


@pytest.fixture
def talk(store_url: str) -> Iterator[Talk]:
    talk = Talk(store_url, "protocol")
    yield talk
    talk.http.close()


@pytest.mark.parametrize(
    ("method", "address"),
    [
        ("PUT", f"/v1/artifacts/{KEY}"),
        ("POST", "/v1/artifacts:resolve"),
        ("PUT", f"/v1/manifests/{KEY}"),
        ("PUT", f"/v1/builds/{KEY}"),
        ("POST", "/v1/events"),
        ("POST", "/v1/blobs:missing"),
    ],
)
class TestMessages:
    @pytest.mark.parametrize(
        "body",
        [b"", b"{", b"[]", b"null", b"\xff\xfe", b'{"a":1}', b"[" * 100_000, b'{"events":"\\ud800"}'],
        ids=["empty", "cut", "list", "null", "not UTF-8", "unknown", "deep", "surrogate"],
    )
    def test_malformed(self, talk: Talk, method: str, address: str, body: bytes) -> None:
        problem(talk.http.request(method, address, content=body), 400, "malformed")

    def test_declared_too_large(self, talk: Talk, method: str, address: str) -> None:
        body = b" " * (wire.MESSAGE_BYTES_MAX + 1)
        problem(talk.http.request(method, address, content=body), 413, "too_large")

    def test_grown_too_large(self, talk: Talk, method: str, address: str) -> None:
        chunks = iter([b" " * (wire.MESSAGE_BYTES_MAX // 4)] * 5)
        problem(talk.http.request(method, address, content=chunks), 413, "too_large")


def test_too_many_in_one_message(talk: Talk) -> None:
    digests = ",".join(f'"{digest_of(b"%d" % at)}"' for at in range(wire.BATCH_MAX + 1))
    body = f'{{"digests":[{digests}]}}'.encode()
    problem(talk.http.post("/v1/blobs:missing", content=body), 400, "malformed")


def test_unknown_fields_and_wrong_types_are_named(talk: Talk) -> None:
    value = artifact([descriptor(b"payload")])
    body = wire.encode(value).replace(b'"provenance":{', b'"provenance":{"colour":"red",')
    found = problem(talk.http.put(f"/v1/artifacts/{value.key}", content=body), 400, "malformed")
    assert "colour" in found.detail
    body = wire.encode(value).replace(b'"size":7', b'"size":"7"')
    found = problem(talk.http.put(f"/v1/artifacts/{value.key}", content=body), 400, "malformed")
    assert "size" in found.detail


def test_addresses_and_methods_that_are_not(talk: Talk) -> None:
    problem(talk.http.get("/v1/nothing"), 404, "not_found")
    problem(talk.http.get("/v2/blobs"), 404, "not_found")
    answer = talk.http.delete(f"/v1/blobs/{KEY}")
    problem(answer, 405, "method_not_allowed")
    assert "GET" in answer.headers["allow"]
    for address in ("artifacts", "manifests", "builds"):
        problem(talk.http.get(f"/v1/{address}/NOT-A-DIGEST"), 400, "malformed")
        problem(talk.http.get(f"/v1/{address}/{KEY}"), 404, "not_found")


def test_health(any_store_url: str) -> None:
    assert httpx.get(f"{any_store_url}/healthz").text == "ok\n"
    status = wire.decode(httpx.get(f"{any_store_url}/readyz").content, wire.Status)
    assert (status.status, status.checks) == ("ok", {"database": "ok", "blobs": "ok"})


def test_unready_says_what_is_wrong(tmp_path: Path) -> None:
    with StoreProcess(tmp_path / "store") as store:
        (tmp_path / "store" / "incoming").rmdir()
        answer = httpx.get(f"{store.url}/readyz")
        assert answer.status_code == 503
        status = wire.decode(answer.content, wire.Status)
        assert status.status == "unready"
        assert status.checks["database"] == "ok"
        assert status.checks["blobs"] == "The storage failed to read or write."
        assert str(tmp_path) not in answer.text
        data = b"no place for me"
        problem(httpx.put(f"{store.url}/v1/blobs/{digest_of(data)}", content=data), 503, "storage_failed")


def references(value: Any) -> Iterator[str]:
    if isinstance(value, dict):
        if isinstance(value.get("$ref"), str):
            yield value["$ref"]
        for item in value.values():
            yield from references(item)
    elif isinstance(value, list):
        for item in value:
            yield from references(item)


def test_openapi_describes_every_message_with_an_example_that_decodes(talk: Talk) -> None:
    document = talk.http.get("/openapi.json").json()
    schemas = document["components"]["schemas"]
    for reference in references(document):
        assert reference.removeprefix("#/components/schemas/") in schemas, reference
    decoded: dict[str, Any] = {}
    for path, operations in document["paths"].items():
        for operation in operations.values():
            bodies = [operation.get("requestBody", {}), *operation["responses"].values()]
            for media_type, media in (pair for body in bodies for pair in body.get("content", {}).items()):
                name = media.get("schema", {}).get("$ref", "").rpartition("/")[2]
                if media_type in ("application/json", "application/problem+json"):
                    assert name, f"{path} has a JSON body without a schema"
                    assert "example" in media, f"{path} has no example of {name}"
                    decoded[name] = wire.decode(wire.encode(media["example"]), getattr(wire, name))
            assert "422" not in operation["responses"]
    assert {"Artifact", "Resolve", "Resolved", "Build", "LookupPage", "Events", "Problem"} <= set(decoded)
    example = decoded["Artifact"]
    verify_signature(example.signature, example.subject.signed_bytes)
    assert decoded["Published"].key == example.key
    assert decoded["Manifest"].entries[0].artifact == example.key
    assert decoded["Build"].entries[0].manifest == decoded["Manifest"].id


def test_stats_count_a_namespace_and_the_blobs_of_all(tmp_path: Path, database: Database) -> None:
    with StoreProcess(tmp_path / "store", database) as store:
        talk, other = Talk(store.url, "default"), Talk(store.url, "other")
        captured = manifest([talk.publish(b"one", "one"), talk.publish(b"two", "two")])
        talk.put_manifest(captured)
        talk.put_build(build([captured], "default"))
        other.publish(b"three")
        told = wire.decode(talk.http.get("/v1/stats").content, wire.Stats)
        assert (told.builds, told.artifacts, told.blobs) == (1, 2, 3)
        assert told.bytes_at_rest == sum(len(pack(data)) for data in (b"one", b"two", b"three"))
        assert wire.decode(other.http.get("/v1/stats").content, wire.Stats).artifacts == 1
        assert HttpStore(store.url).stats() == told
        problem(talk.http.get("/v1/stats", params={"namespace": "No Such"}), 400, "malformed")
        talk.http.close()
        other.http.close()


def test_every_route_is_described(talk: Talk) -> None:
    paths = talk.http.get("/openapi.json").json()["paths"]
    assert {f"{method} {path}" for path, operations in paths.items() for method in operations} == {
        "put /v1/blobs/{digest}",
        "get /v1/blobs/{digest}",
        "head /v1/blobs/{digest}",
        "post /v1/blobs:missing",
        "post /v1/blobs/{digest}/upload",
        "post /v1/blobs/{digest}/upload/{upload}:finish",
        "post /v1/artifacts:resolve",
        "post /v1/leases",
        "post /v1/leases:renew",
        "post /v1/leases:release",
        "post /v1/leases:wait",
        "get /v1/artifacts",
        "put /v1/artifacts/{key}",
        "get /v1/artifacts/{key}",
        "get /v1/artifacts/{key}/agreement",
        "put /v1/manifests/{id}",
        "get /v1/manifests/{id}",
        "get /v1/builds",
        "put /v1/builds/{key}",
        "get /v1/builds/{key}",
        "get /v1/builds/{key}/bundle",
        "get /v1/builds/{key}/documents/{manifest}/{name}",
        "post /v1/events",
        "get /v1/stats",
        "get /v1/roots",
        "put /v1/roots/{kind}/{key}",
        "delete /v1/roots/{kind}/{key}",
        "get /v1/retention",
        "put /v1/retention",
        "get /healthz",
        "get /readyz",
    }


def test_everything_is_there_after_a_restart(tmp_path: Path, database: Database) -> None:
    with StoreProcess(tmp_path / "store", database) as store:
        talk = Talk(store.url, "default")
        captured = manifest([talk.publish(b"payload")])
        talk.put_manifest(captured)
        start = build([captured], "default")
        talk.put_build(start)
        before = talk.http.get(f"/v1/builds/{start.key}/bundle").content
        talk.http.close()
    with StoreProcess(tmp_path / "store", database) as store:
        assert httpx.get(f"{store.url}/v1/builds/{start.key}/bundle").content == before
    assert BundleIndex(build=start, manifests=(captured,), artifacts=()).build == start


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_a_stop_is_clean(tmp_path: Path, number: signal.Signals) -> None:
    with StoreProcess(tmp_path / "store") as store:
        status = store.stop(number)
        assert status in (0, -signal.SIGTERM)
        assert store.log == ""


@pytest.mark.parametrize(
    ("arguments", "environ", "words"),
    [
        (["--port", "99999"], {}, "port must be"),
        ([], {"INDUCTORY_STORE_DATADIR": "x"}, "did you mean data_dir"),
        (["--host", "192.0.2.1"], {}, "can't listen on 192.0.2.1"),
        ([], {"INDUCTORY_STORE_DATABASE_URL": "nonsense"}, "database_url"),
    ],
)
def test_a_start_that_cannot_be_says_why(
    tmp_path: Path, arguments: list[str], environ: dict[str, str], words: str
) -> None:
    command = [
        sys.executable,
        "-m",
        "inductory_store",
        "--port",
        "0",
        "--data-dir",
        str(tmp_path),
        *arguments,
    ]
    ended = subprocess.run(command, env=environ, capture_output=True, text=True, timeout=60, check=False)
    assert ended.returncode == 1
    assert words in ended.stderr
    assert "Traceback" not in ended.stderr
    assert ended.stdout == ""


def started(data_dir: Path, environ: dict[str, str] | None = None) -> subprocess.CompletedProcess[str]:
    """What becomes of a store that can't start."""
    command = [sys.executable, "-m", "inductory_store", "--port", "0", "--data-dir", str(data_dir)]
    ended = subprocess.run(
        command, env=environ or {}, capture_output=True, text=True, timeout=60, check=False
    )
    assert (ended.returncode, ended.stdout) == (1, "")
    assert "Traceback" not in ended.stderr
    return ended


def test_a_data_folder_that_cannot_be_says_why(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("not a folder")
    assert f"inductory store: can't use {tmp_path / 'file'} as" in started(tmp_path / "file").stderr
    (tmp_path / "store").mkdir()
    (tmp_path / "store" / "cas").write_text("not a folder")
    assert "inductory store: The storage failed to read or write." in started(tmp_path / "store").stderr


def test_a_catalog_that_is_none_is_named(tmp_path: Path) -> None:
    catalog = tmp_path / "catalog.sqlite3"
    catalog.write_bytes(b"nobody wrote this as a database" * 100)
    assert f"the catalog {catalog} isn't an SQLite database" in started(tmp_path).stderr
    elsewhere = {"INDUCTORY_STORE_DATABASE_URL": f"sqlite:///{tmp_path / 'store' / 'catalog'}"}
    (tmp_path / "store" / "catalog").mkdir(parents=True)
    assert f"the catalog {tmp_path / 'store' / 'catalog'} can't be" in started(tmp_path, elsewhere).stderr


def test_a_newer_versions_catalog_is_left_alone(tmp_path: Path) -> None:
    with StoreProcess(tmp_path / "store") as store:
        assert httpx.get(f"{store.url}/readyz").status_code == 200
    catalog = tmp_path / "store" / "catalog.sqlite3"
    with closing(sqlite3.connect(catalog)) as connection:
        connection.execute("UPDATE alembic_version SET version_num = '9999'")
        connection.commit()
    told = started(tmp_path / "store").stderr
    assert str(catalog) in told
    assert "has the schema 9999" in told
