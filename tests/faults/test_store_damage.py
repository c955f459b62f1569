"""Bytes that rot or vanish at rest are never served, and come back when somebody publishes them again."""

from __future__ import annotations

import http.client
import io
import random
import shutil
from collections.abc import Callable, Iterator
from pathlib import Path
from urllib.parse import urlsplit

import httpx
import pytest
from inductory_client.contract import wire
from inductory_client.contract.blob import pack
from inductory_client.contract.bundle import read_frames
from inductory_client.contract.digest import digest_of
from inductory_client.contract.errors import Corrupt
from inductory_store.kept_answers import ANSWER_BYTES_MAX
from store_messages import Talk, build, manifest, problem
from store_process import Database, StoreProcess

LARGE_BYTES = 12 << 20
"""Past what is verified before the first byte."""


@pytest.fixture(scope="module")
def store(tmp_path_factory: pytest.TempPathFactory, module_database: Database) -> Iterator[StoreProcess]:
    with StoreProcess(tmp_path_factory.mktemp("damaged") / "store", module_database) as store:
        yield store


@pytest.fixture
def talk(store: StoreProcess, request: pytest.FixtureRequest) -> Iterator[Talk]:
    """A namespace of its own for each test."""
    talk = Talk(store.url, "damage-" + digest_of(request.node.nodeid.encode())[:12])
    yield talk
    talk.http.close()


@pytest.fixture
def small(request: pytest.FixtureRequest) -> bytes:
    """Bytes that no other test has, verified before the first of them is sent."""
    return random.Random(request.node.nodeid).randbytes(50_000)


def path_of(store: StoreProcess, data: bytes) -> Path:
    digest = digest_of(data)
    return store.data_dir / "cas" / "sha256" / digest[:2] / f"{digest}.zst"


def truncate(path: Path) -> None:
    path.write_bytes(path.read_bytes()[:-10])


def empty(path: Path) -> None:
    path.write_bytes(b"")


def flip(path: Path) -> None:
    packed = bytearray(path.read_bytes())
    packed[len(packed) // 2] ^= 1
    path.write_bytes(packed)


def swap(path: Path) -> None:
    path.write_bytes(pack(b"another blob's bytes"))


def remove(path: Path) -> None:
    path.unlink()


DAMAGES = [truncate, empty, flip, swap, remove]
Damage = Callable[[Path], None]


@pytest.mark.parametrize("damage", DAMAGES)
@pytest.mark.parametrize("headers", [{}, {"Accept-Encoding": "zstd"}, {"Range": "bytes=0-9"}], ids=str)
def test_a_small_blob_is_a_problem_before_its_first_byte(
    store: StoreProcess, talk: Talk, small: bytes, damage: Damage, headers: dict[str, str]
) -> None:
    talk.put_blob(small)
    damage(path_of(store, small))
    address = f"/v1/blobs/{digest_of(small)}"
    problem(talk.http.get(address, headers={"Accept-Encoding": "identity"} | headers), 503, "storage_failed")
    # Its promise is taken back, so that the next publisher sends it again.
    problem(talk.http.get(address), 404, "not_found")
    wanted = wire.encode(wire.BlobsWanted(digests=(digest_of(small),)))
    assert talk.http.post("/v1/blobs:missing", content=wanted).json()["missing"] == [digest_of(small)]
    assert talk.put_blob(small).status_code == 201
    assert talk.http.get(address).content == small
    assert "damaged" in store.log or "promised" in store.log


@pytest.mark.parametrize("damage", [truncate, flip])
@pytest.mark.parametrize("headers", [{}, {"Accept-Encoding": "zstd"}, {"Range": "bytes=5-12000000"}], ids=str)
def test_a_large_blob_breaks_off(
    store: StoreProcess, talk: Talk, damage: Damage, headers: dict[str, str]
) -> None:
    large = random.Random(talk.namespace).randbytes(LARGE_BYTES)
    talk.put_blob(large)
    damage(path_of(store, large))
    connection = http.client.HTTPConnection(urlsplit(store.url).netloc, timeout=60)
    connection.request("GET", f"/v1/blobs/{digest_of(large)}", headers=headers)
    answer = connection.getresponse()
    assert answer.status in (200, 206)
    with pytest.raises((http.client.IncompleteRead, ConnectionResetError)):
        answer.read()
    connection.close()
    problem(talk.http.get(f"/v1/blobs/{digest_of(large)}"), 404, "not_found")


@pytest.mark.parametrize("damage", [flip, remove])
def test_an_artifact_whose_bytes_are_lost_is_a_miss_until_published_again(
    store: StoreProcess, talk: Talk, small: bytes, damage: Damage
) -> None:
    value = talk.publish(small)
    damage(path_of(store, small))
    resolved = talk.resolve(value.key)
    assert (resolved.hits, resolved.misses) == ((), (wire.Miss(key=value.key),))
    problem(talk.http.get(f"/v1/artifacts/{value.key}"), 404, "not_found")
    # The next compile makes other bytes: they take the place of the lost ones.
    other = talk.publish(b"other bytes")
    assert other.key == value.key
    assert talk.resolve(value.key).hits == (other,)


def test_an_answer_that_is_kept_doesnt_outlive_what_it_promises(
    store: StoreProcess, talk: Talk, small: bytes
) -> None:
    value = talk.publish(small)
    assert talk.resolve(value.key).hits == talk.resolve(value.key).hits == (value,)
    remove(path_of(store, small))
    problem(talk.http.get(f"/v1/blobs/{digest_of(small)}"), 503, "storage_failed")
    assert talk.resolve(value.key).hits == ()


def test_a_bundle_leaves_out_what_is_damaged(store: StoreProcess, talk: Talk, small: bytes) -> None:
    values = [talk.publish(small, "small"), talk.publish(b"whole", "whole")]
    captured = manifest(values)
    talk.put_manifest(captured)
    start = build([captured], talk.namespace)
    talk.put_build(start)
    flip(path_of(store, small))
    for _ in range(2):
        found = talk.http.get(f"/v1/builds/{start.key}/bundle").content
        assert [data for _, data, _ in read_frames(io.BytesIO(found), 1 << 30)][1:] == [b"whole"]


def test_a_bundle_that_is_too_long_for_memory_breaks_off_but_never_lies(
    store: StoreProcess, talk: Talk, small: bytes
) -> None:
    large = random.Random(talk.namespace).randbytes(ANSWER_BYTES_MAX)
    values = [talk.publish(small, "small"), talk.publish(large, "large")]
    captured = manifest(values)
    talk.put_manifest(captured)
    start = build([captured], talk.namespace)
    talk.put_build(start)
    flip(path_of(store, small))
    address = f"/v1/builds/{start.key}/bundle"
    got = bytearray()
    with pytest.raises(httpx.RemoteProtocolError), talk.http.stream("GET", address) as answer:
        got.extend(b"".join(answer.iter_raw()))
    with pytest.raises(Corrupt):
        list(read_frames(io.BytesIO(got), 1 << 30))
    again = talk.http.get(address).content
    assert [data for _, data, _ in read_frames(io.BytesIO(again), 1 << 30)][1:] == [large]


def test_blobs_that_are_away_for_a_moment_are_not_lost(tmp_path: Path, small: bytes) -> None:
    with StoreProcess(tmp_path / "store") as store:
        talk = Talk(store.url, "default")
        value = talk.publish(small)
        cas, address = store.data_dir / "cas", f"/v1/blobs/{digest_of(small)}"
        cas.rename(tmp_path / "away")
        for _ in range(2):
            problem(talk.http.get(address), 503, "storage_failed")
            problem(talk.put_blob(b"nowhere to go"), 503, "storage_failed")
            (cas / "sha256" / digest_of(small)[:2]).mkdir(parents=True, exist_ok=True)
        ready = talk.http.get("/readyz")
        assert ready.status_code == 503
        assert "isn't there" in wire.decode(ready.content, wire.Status).checks["blobs"]
        shutil.rmtree(cas)
        (tmp_path / "away").rename(cas)
        assert talk.http.get(address).content == small
        assert talk.http.get("/readyz").status_code == 200
        assert talk.resolve(value.key).hits == (value,)
        talk.http.close()


def test_a_start_without_the_blobs_that_the_catalog_promises_says_so(tmp_path: Path, small: bytes) -> None:
    with StoreProcess(tmp_path / "store") as store:
        talk = Talk(store.url, "default")
        talk.publish(small)
        talk.http.close()
    cas = tmp_path / "store" / "cas"
    cas.rename(tmp_path / "away")
    with pytest.raises(RuntimeError, match="the catalog promises blobs"):
        StoreProcess(tmp_path / "store")
    assert not cas.exists()
    (tmp_path / "away").rename(cas)
    with StoreProcess(tmp_path / "store") as store:
        assert httpx.get(f"{store.url}/v1/blobs/{digest_of(small)}").content == small


@pytest.mark.parametrize("damage", DAMAGES)
def test_a_blob_that_is_restored_is_served_again(
    store: StoreProcess, talk: Talk, small: bytes, damage: Damage
) -> None:
    value = talk.publish(small)
    path, address = path_of(store, small), f"/v1/blobs/{digest_of(small)}"
    packed = path.read_bytes()
    damage(path)
    problem(talk.http.get(address), 503, "storage_failed")
    problem(talk.http.get(address), 404, "not_found")
    path.write_bytes(packed)
    assert talk.http.get(address).content == small
    assert talk.resolve(value.key).hits == (value,)
