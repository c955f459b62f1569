"""Whatever becomes of store, disk or artifacts, Triton compiles for itself and says so in one line."""

from __future__ import annotations

import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest
from misbehaving import Misbehaving, always, answer, dripping, refused, silent
from triton_machine import Machine

pytest.importorskip("triton")

IMPATIENT = {"INDUCTORY_STORE_DEADLINE_S": "0.2", "INDUCTORY_DRAIN_S": "0"}


class Built:
    """A builder with a kernel in its folder and in its local CAS."""

    def __init__(self, place: Path) -> None:
        self.machine = Machine(place)
        self.kernel = self.machine.run("plain", native=True)["kernels"]["plain"]

    def copied_cas(self, place: Path) -> Machine:
        """A node that trusts the builder and has its local CAS."""
        node = Machine(place, config=self.machine.config)
        shutil.copytree(self.machine.cas, node.cas)
        return node


@pytest.fixture(scope="module")
def built(tmp_path_factory: pytest.TempPathFactory) -> Built:
    return Built(tmp_path_factory.mktemp("builder"))


def check_compiled(found: dict[str, Any], built: Built, *, lines: int = 1) -> None:
    """It was compiled here, to what it is anywhere, and the log says so."""
    assert found["compiled"] == ["plain"]
    assert found["kernels"]["plain"]["cubin"] == built.kernel["cubin"]
    assert "ptx" in found["kernels"]["plain"]["asm"]
    assert len(found["log"]) == lines, found["log"]


@contextmanager
def lying() -> Iterator[str]:
    with Misbehaving(always(answer(b'{"hits": [], "misses": 7}'))) as server:
        yield server.url


@contextmanager
def hanging() -> Iterator[str]:
    with Misbehaving(silent) as server:
        yield server.url


@contextmanager
def endless() -> Iterator[str]:
    with Misbehaving(dripping(b"x", b"HTTP/1.1 200 OK\r\nContent-Type: application/json\r\n\r\n")) as server:
        yield server.url


@contextmanager
def failing() -> Iterator[str]:
    with Misbehaving(always(answer(b"no", b"500 Internal Server Error"))) as server:
        yield server.url


@pytest.mark.parametrize("store", [refused, hanging, lying, endless, failing])
def test_a_store_that_is_of_no_use(built: Built, tmp_path: Path, store: Any) -> None:
    with store() as url:
        found = Machine(tmp_path, url, built.machine.config, **IMPATIENT).run("plain")
    told = [line for line in found["log"] if line.startswith("the store isn't used for now")]
    assert len(told) == 1
    check_compiled(found, built, lines=len(found["log"]))


def test_bytes_that_were_changed(built: Built, tmp_path: Path) -> None:
    node = built.copied_cas(tmp_path)
    for path in (node.cas / "cas").rglob("*"):
        if path.is_file() and path.read_bytes().startswith(b"\x7fELF"):
            data = bytearray(path.read_bytes())
            data[len(data) // 2] ^= 1
            path.write_bytes(data)
    found = node.run("plain", native=True)
    check_compiled(found, built)
    assert "is damaged" in found["log"][0]


def test_a_signer_whom_nobody_trusts(built: Built, tmp_path: Path) -> None:
    node = built.copied_cas(tmp_path)
    node.environ["INDUCTORY_CONFIG_DIR"] = str(tmp_path / "config")
    found = node.run("plain")
    check_compiled(found, built)
    assert "refused" in found["log"][0]


def test_a_folder_that_cannot_be_written(built: Built, tmp_path: Path) -> None:
    """The kernels that this node has are used all the same, and others compiled."""
    node = built.copied_cas(tmp_path)
    node.triton.write_text("a file in its place")
    found = node.run("plain", "scaled", native=True)
    assert found["compiled"] == ["scaled"]
    assert found["kernels"]["plain"]["cubin"] == built.kernel["cubin"]
    assert len(found["log"]) == 1
    assert "can't be written" in found["log"][0]
    paths = [Path(path) for kernel in found["kernels"].values() for path in kernel["paths"].values()]
    assert not any(path.exists() for path in paths), "what took its place went with the process"


def test_a_home_that_cannot_be_written(built: Built, tmp_path: Path) -> None:
    home = tmp_path / "home"
    home.write_text("a file in its place")
    places = {"TRITON_CACHE_DIR": home / "triton", "INDUCTORY_CACHE_DIR": home / "cache"}
    node = Machine(tmp_path, None, home / "config", **{name: str(path) for name, path in places.items()})
    found = node.run("plain")
    check_compiled(found, built, lines=len(found["log"]))
    assert len(set(found["log"])) == len(found["log"])


@pytest.mark.parametrize("damage", ["gone", "no JSON", "no paths"])
def test_a_group_that_is_damaged_is_had_anew(built: Built, tmp_path: Path, damage: str) -> None:
    node = built.copied_cas(tmp_path)
    shutil.copytree(built.machine.triton, node.triton)
    (group,) = node.triton.rglob("__grp__plain.json")
    if damage == "gone":
        for path in node.triton.rglob("*.cubin"):
            path.unlink()
        group.write_text(group.read_text().replace(str(built.machine.triton), str(node.triton)))
    else:
        group.write_text({"no JSON": "{", "no paths": "[]"}[damage])
    found = node.run("plain")
    assert (found["compiled"], found["log"]) == ([], [])
    assert found["kernels"]["plain"]["cubin"] == built.kernel["cubin"]
    assert found["kernels"]["plain"]["asm"] == ["cubin"]


def test_killed_while_it_sends(built: Built, store_url: str, tmp_path: Path) -> None:
    namespace = {"INDUCTORY_NAMESPACE": "triton-killed"}
    killed = Machine(tmp_path / "killed", store_url, built.machine.config, **namespace)
    killed.run("plain", killed=True)
    again = killed.run("plain")
    assert (again["compiled"], again["log"]) == ([], []), "its own folder has it"
    other = Machine(tmp_path / "other", store_url, built.machine.config, **namespace).run("plain")
    assert other["log"] == []
    assert other["kernels"]["plain"]["cubin"] == built.kernel["cubin"]
