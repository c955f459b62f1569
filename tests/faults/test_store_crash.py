"""A store that dies at the worst moment leaves no name without bytes."""

from __future__ import annotations

import os
import signal
import socket
import subprocess
import sys
import time
from pathlib import Path
from urllib.parse import urlsplit

from inductory_client.contract import wire
from inductory_client.contract.blob import pack
from inductory_client.contract.digest import digest_of
from inductory_store.blobs.disk import INCOMING_SECONDS_MAX, DiskBlobs
from store_messages import Talk, artifact, build, descriptor, manifest, problem
from store_process import Database, StoreProcess

DATA = bytes(range(256)) * 400
DIGEST = digest_of(DATA)

# The store's own operation on the store's own disk; the process dies as soon as the bytes rest.
DIES_BETWEEN_BLOB_AND_ROW = f"""
import os, signal, sys
from pathlib import Path
from inductory_client.contract.blob import pack
from inductory_store.blobs.disk import DiskBlobs
from inductory_store.catalog.catalog import Catalog
from inductory_store.operations.put_blob import put_blob
from inductory_store.settings import StoreSettings
from inductory_store.store import Store

class DyingBlobs(DiskBlobs):
    def put(self, digest, size, packed):
        super().put(digest, size, packed)
        os.kill(os.getpid(), signal.SIGKILL)

settings = StoreSettings.load(data_dir=Path(sys.argv[1]))
store = Store(settings, Catalog(settings.catalog_url), DyingBlobs(settings.data_dir))
data = bytes(range(256)) * 400
put_blob(store, {DIGEST!r}, len(data), [pack(data)], packed=True)
"""


def blob_path(store: Path) -> Path:
    return store / "cas" / "sha256" / DIGEST[:2] / f"{DIGEST}.zst"


def missing(talk: Talk) -> tuple[str, ...]:
    answer = talk.http.post("/v1/blobs:missing", content=wire.encode(wire.BlobsWanted(digests=(DIGEST,))))
    return wire.decode(answer.content, wire.BlobsMissing).missing


def test_killed_between_the_blob_and_its_row(tmp_path: Path, database: Database) -> None:
    with StoreProcess(tmp_path / "store", database):
        pass
    command = [sys.executable, "-c", DIES_BETWEEN_BLOB_AND_ROW, str(tmp_path / "store")]
    assert subprocess.run(command, env=os.environ | database, check=False).returncode == -signal.SIGKILL
    assert blob_path(tmp_path / "store").exists()
    with StoreProcess(tmp_path / "store", database) as store:
        talk = Talk(store.url, "default")
        problem(talk.http.get(f"/v1/blobs/{DIGEST}"), 404, "not_found")
        assert missing(talk) == (DIGEST,)
        value = artifact([descriptor(DATA)])
        problem(talk.put_artifact(value), 409, "blob_missing")
        assert talk.put_blob(DATA).status_code == 201
        assert talk.put_artifact(value).status_code == 201
        assert talk.http.get(f"/v1/blobs/{DIGEST}").content == DATA
        talk.http.close()


def test_killed_in_the_middle_of_an_upload(tmp_path: Path) -> None:
    packed = pack(os.urandom(3_000_000))
    head = (
        f"PUT /v1/blobs/{DIGEST} HTTP/1.1\r\nHost: store\r\nContent-Encoding: zstd\r\n"
        f"Inductory-Size: 3000000\r\nContent-Length: {len(packed)}\r\n\r\n"
    )
    incoming = tmp_path / "store" / "incoming"
    with StoreProcess(tmp_path / "store") as store:
        host, _, port = urlsplit(store.url).netloc.partition(":")
        with socket.create_connection((host, int(port)), timeout=60) as connection:
            connection.sendall(head.encode() + packed[:-1000])
            store.wait_until(lambda: any(path.stat().st_size for path in incoming.iterdir()))
            store.kill()
    (left,) = incoming.iterdir()
    with StoreProcess(tmp_path / "store") as store:
        talk = Talk(store.url, "default")
        assert missing(talk) == (DIGEST,)
        talk.http.close()
    # It may be another process's that still writes; an hour later it is nobody's.
    assert left.exists()
    blobs = DiskBlobs(tmp_path / "store")
    assert blobs.sweep_incoming(time.time()) == 0
    assert blobs.sweep_incoming(time.time() + INCOMING_SECONDS_MAX + 1) == 1
    assert not left.exists()


def test_a_client_that_hangs_up_leaves_nothing(tmp_path: Path) -> None:
    with StoreProcess(tmp_path / "store") as store:
        host, _, port = urlsplit(store.url).netloc.partition(":")
        incoming = tmp_path / "store" / "incoming"
        with socket.create_connection((host, int(port)), timeout=60) as connection:
            head = f"PUT /v1/blobs/{DIGEST} HTTP/1.1\r\nHost: store\r\nContent-Length: {len(DATA)}\r\n\r\n"
            connection.sendall(head.encode() + DATA[:1000])
            store.wait_until(lambda: any(incoming.iterdir()))
        store.wait_until(lambda: not any(incoming.iterdir()))
        talk = Talk(store.url, "default")
        assert missing(talk) == (DIGEST,)
        assert talk.put_blob(DATA).status_code == 201
        talk.http.close()


def test_killed_at_any_moment_every_name_has_its_bytes(tmp_path: Path, database: Database) -> None:
    """Publish whole builds, kill the process under them, and check all that it promises afterwards."""
    for _ in range(4):
        with StoreProcess(tmp_path / "store", database) as store:
            publisher = subprocess.Popen(
                [sys.executable, "-c", PUBLISHES_UNTIL_THE_STORE_DIES, store.url, os.urandom(4).hex()],
                stdout=subprocess.PIPE,
                env={**os.environ, "PYTHONPATH": str(Path(__file__).parents[1])},
            )
            assert publisher.stdout is not None
            for _ in range(3):
                assert publisher.stdout.readline()
            store.kill()
            publisher.stdout.close()
            publisher.wait()
    with StoreProcess(tmp_path / "store", database) as store:
        talk = Talk(store.url, "default")
        builds = wire.decode(talk.http.get("/v1/builds").content, wire.BuildPage).builds
        assert len(builds) >= 4
        for each in builds:
            assert talk.http.get(f"/v1/builds/{each.key}/bundle").status_code == 200
        page = wire.decode(talk.http.get("/v1/artifacts?namespace=default").content, wire.LookupPage)
        for entry in page.entries:
            answer = talk.http.get(f"/v1/blobs/{entry.digest}", headers={"Accept-Encoding": "identity"})
            assert digest_of(answer.content) == entry.digest
        assert "error" not in store.log.lower()
        talk.http.close()


PUBLISHES_UNTIL_THE_STORE_DIES = """
import sys
import httpx
from store_messages import Talk, artifact, build, descriptor, manifest

talk = Talk(sys.argv[1], "default")
try:
    for at in range(10_000):
        name = f"{sys.argv[2]} {at}"
        captured = manifest([talk.publish(name.encode() * 1000, name)], name)
        assert talk.put_manifest(captured).is_success
        assert talk.put_build(build([captured], "default", name)).is_success
        print(name, flush=True)
except (httpx.HTTPError, BrokenPipeError):
    pass
"""


def test_two_store_processes_on_one_folder_agree(tmp_path: Path, database: Database) -> None:
    with StoreProcess(tmp_path / "store", database) as one, StoreProcess(tmp_path / "store", database) as two:
        talks = [Talk(one.url, "default"), Talk(two.url, "default")]
        outcomes = []
        for at in range(20):
            data = b"piece %d" % at
            value = artifact([descriptor(data)], f"graph {at}")
            for talk in talks if at % 2 else reversed(talks):
                assert talk.put_blob(data).is_success
                outcomes.append(talk.put_artifact(value).json()["outcome"])
        assert outcomes == ["created", "reproduced"] * 20
        captured = manifest([artifact([descriptor(b"piece 0")], "graph 0")])
        assert [talk.put_manifest(captured).status_code for talk in talks] == [201, 200]
        start = build([captured], "default")
        assert [talk.put_build(start).status_code for talk in talks] == [201, 200]
        for talk in talks:
            talk.http.close()
