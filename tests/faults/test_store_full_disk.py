"""A full disk: a clear error, nothing half-written, and all is well once there is room."""

from __future__ import annotations

import os
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest
from inductory_client.contract.digest import digest_of
from store_messages import Talk, problem
from store_process import StoreProcess


@pytest.fixture
def small_disk(tmp_path: Path) -> Iterator[Path]:
    """A file system of 4 MiB; only root may mount one."""
    disk = tmp_path / "disk"
    disk.mkdir()
    mounted = subprocess.run(
        ["mount", "-t", "tmpfs", "-o", "size=4m", "tmpfs", str(disk)], capture_output=True, check=False
    )
    if mounted.returncode:
        pytest.skip("mounting a small disk takes root")
    yield disk
    subprocess.run(["umount", str(disk)], check=True)


def check_full(store: StoreProcess, talk: Talk) -> None:
    large, small = os.urandom(6_000_000), os.urandom(1000)
    problem(talk.put_blob(large), 507, "storage_full")
    problem(talk.http.get(f"/v1/blobs/{digest_of(large)}"), 404, "not_found")
    assert not list((store.data_dir / "incoming").iterdir())
    assert talk.put_blob(small).status_code == 201
    assert talk.http.get(f"/v1/blobs/{digest_of(small)}").content == small


def test_a_disk_without_room(small_disk: Path) -> None:
    with StoreProcess(small_disk / "store") as store:
        talk = Talk(store.url, "default")
        check_full(store, talk)
        (small_disk / "ballast").write_bytes(
            bytes(os.statvfs(small_disk).f_bavail * os.statvfs(small_disk).f_bsize)
        )
        problem(talk.put_blob(os.urandom(100_000)), 507, "storage_full")
        status = talk.http.get("/readyz")
        assert (status.status_code, status.json()["checks"]["blobs"]) == (
            503,
            "No room is left where the bytes should go.",
        )
        (small_disk / "ballast").unlink()
        assert talk.http.get("/readyz").status_code == 200
        check_full(store, talk)
        talk.http.close()


def test_a_file_may_not_grow(tmp_path: Path) -> None:
    """The same by a limit on file sizes, which needs no rights."""
    with StoreProcess(tmp_path / "store", wrapper=["prlimit", "--fsize=4000000"]) as store:
        talk = Talk(store.url, "default")
        check_full(store, talk)
        talk.http.close()
