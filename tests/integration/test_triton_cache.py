"""Kernels that Triton compiled on one machine are loaded on another, through a real store."""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
from triton_machine import KERNELS, Machine, run_at_once

pytest.importorskip("triton")

ELSEWHERE = {
    "typed": {"KERNELS_KIND": "float16"},
    "scaled": {"KERNELS_FACTOR": "5"},
    "rounded": {"KERNELS_ROUND": "ceil"},
    "shifted": {"KERNELS_SHIFT": "9"},
}
"""What Triton's key doesn't have, and decides the code of a kernel."""


@dataclass(frozen=True)
class Built:
    """A builder, what it did, and the store that it sent all of it to."""

    machine: Machine
    answer: dict[str, Any]
    url: str

    def node(self, place: Path, **environ: str) -> Machine:
        return Machine(place, self.url, self.machine.config, **environ)


@pytest.fixture(scope="module")
def built(tmp_path_factory: pytest.TempPathFactory, store_url: str) -> Built:
    machine = Machine(tmp_path_factory.mktemp("builder"), store_url, TRITON_CACHE_MANAGER="")
    answer = machine.run(*KERNELS, "unclear", native=True, used=True, install=True)
    assert answer["installed"]
    assert answer["compiled"] == [*KERNELS, "unclear"]
    assert answer["log"] == []
    return Built(machine, answer, store_url)


def test_another_node_loads_all_of_it_and_compiles_nothing(built: Built, tmp_path: Path) -> None:
    node = built.node(tmp_path, PATH="")
    answer = node.run(*KERNELS, native=True)
    assert answer["compiled"] == []
    assert answer["native"] == built.answer["native"], "there is no compiler for it here"
    for name in KERNELS:
        there, here = built.answer["kernels"][name], answer["kernels"][name]
        assert here["cubin"] == there["cubin"]
        assert here["metadata"] == there["metadata"]
        assert here["asm"] == ["cubin"]
        assert {Path(path).parent.parent for path in here["paths"].values()} == {node.triton}
    assert answer["log"] == []


def test_what_lies_in_tritons_folder_then_is_as_triton_leaves_it(built: Built, tmp_path: Path) -> None:
    node = built.node(tmp_path)
    node.run("plain")
    assert node.files() == {"plain.json", "plain.cubin", "__grp__plain.json"}
    (group,) = node.triton.rglob("__grp__plain.json")
    assert json.loads(group.read_text()) == {
        "child_paths": {name: str(group.with_name(name)) for name in ("plain.json", "plain.cubin")}
    }
    stock = Machine(tmp_path, TRITON_CACHE_MANAGER="")
    assert stock.run("plain")["compiled"] == [], "Triton itself loads it"


def test_no_path_of_the_builder_travels(built: Built) -> None:
    metadata = built.answer["kernels"]["plain"]["metadata"]
    (library,) = (path for name, path in json.loads(metadata)["extern_libs"] if name == "libdevice")
    blobs = [path.read_bytes() for path in (built.machine.cas / "cas").rglob("*") if path.is_file()]
    described = [data for data in blobs if b'"extern_libs"' in data]
    assert len(described) == len(KERNELS)
    assert not any(str(Path(library).parent).encode() in data for data in described)


def test_a_kernel_is_what_its_names_stand_for(built: Built, tmp_path: Path) -> None:
    """Triton's key is the same for both, so its own folder would serve one for the other."""
    environ = {name: text for changes in ELSEWHERE.values() for name, text in changes.items()}
    answer = built.node(tmp_path, **environ).run(*KERNELS, "unclear")
    assert answer["compiled"] == [*ELSEWHERE, "unclear"]
    keys = [
        {path.parent.name for path in place.rglob("__grp__*")} for place in (tmp_path, built.machine.triton)
    ]
    assert keys[0] == keys[1]
    for name in ELSEWHERE:
        assert answer["kernels"][name]["cubin"] != built.answer["kernels"][name]["cubin"]


def test_what_a_start_used_is_brought_in_one_round_trip_a_kind(built: Built, tmp_path: Path) -> None:
    used = built.answer["used"]
    assert len(used) == len(KERNELS) + 1
    strays = ["", "../../etc/passwd", "KEY/../x.so", f"KEY/__grp__x.json/{'0' * 63}"]
    answer = built.node(tmp_path, PATH="").run(*KERNELS, native=True, prefetch=[*used, *strays], used=True)
    assert answer["prefetched"] == len(used)
    assert (answer["resolves"], answer["compiled"]) == (2, [])
    assert answer["used"] == used
    again = built.node(tmp_path).run(*KERNELS, prefetch=used, used=True)
    assert (again["prefetched"], again["resolves"]) == (0, 0), "all of it lies in Triton's folder"
    assert again["used"] == [key for key in used if "__grp__" in key]


def test_inductor_bundles_what_came_from_the_store(
    built: Built, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    bundler = pytest.importorskip("torch._inductor.triton_bundler").TritonBundler
    inductor = pytest.importorskip("torch._inductor.config")
    node, other = built.node(tmp_path / "node"), Machine(tmp_path / "other", TRITON_CACHE_MANAGER="")
    node.run("plain")
    (group,) = node.triton.rglob("__grp__plain.json")
    with inductor.patch(bundle_triton_into_fx_graph_cache=True):
        monkeypatch.setenv("TRITON_CACHE_DIR", str(node.triton))
        bundler.begin_compile()
        bundler.put(group.parent.name, 0)
        bundle, _ = bundler.collect()
        monkeypatch.setenv("TRITON_CACHE_DIR", str(other.triton))
        bundler.read_and_emit(bundle)
    assert other.files() == node.files()
    assert other.run("plain")["compiled"] == []


def test_without_a_store_a_node_shares_with_itself(built: Built, tmp_path: Path) -> None:
    places = {"INDUCTORY_CACHE_DIR": str(built.machine.cas), "PATH": ""}
    node = Machine(tmp_path, None, built.machine.config, **places)
    assert node.run(*KERNELS, native=True)["compiled"] == []


@pytest.mark.parametrize(
    "environ",
    [
        {"INDUCTORY_DISABLED": "1"},
        {"INDUCTORY_STORE_DEADLINE_S": "soon"},
        {"TRITON_ALWAYS_COMPILE": "1"},
    ],
    ids=lambda environ: next(iter(environ)),
)
def test_who_works_on_kernels_has_stock_triton(built: Built, tmp_path: Path, environ: dict[str, str]) -> None:
    node = built.node(tmp_path, **environ)
    answer = node.run("plain", used=True)
    assert answer["compiled"] == ["plain"]
    assert answer["used"] == []
    assert "ptx" in answer["kernels"]["plain"]["asm"]
    assert not node.cas.exists()
    assert len(answer["log"]) == ("INDUCTORY_STORE_DEADLINE_S" in environ)


def test_dumps_are_never_shared(tmp_path: Path) -> None:
    node = Machine(tmp_path, TRITON_KERNEL_DUMP="1")
    node.run("plain", used=True)
    dumped = {path.suffix for path in (tmp_path / "dump").rglob("plain.*")}
    assert {".ttir", ".ptx", ".cubin"} <= dumped
    assert not list((tmp_path / "dump").rglob("__grp__*"))


def test_two_processes_may_want_one_kernel_at_once(built: Built, tmp_path: Path) -> None:
    node = built.node(tmp_path, INDUCTORY_NAMESPACE="triton-at-once")
    first, second = node.job(*KERNELS), node.job(*KERNELS) | {"answer": str(tmp_path / "second.json")}
    for answer in run_at_once(first, second):
        assert answer["log"] == []
        for name, kernel in answer["kernels"].items():
            assert kernel["cubin"] == built.answer["kernels"][name]["cubin"]
    assert node.run(*KERNELS)["compiled"] == []
    elsewhere = built.node(tmp_path / "elsewhere", INDUCTORY_NAMESPACE="triton-at-once")
    assert elsewhere.run(*KERNELS)["compiled"] == []


def test_what_a_forked_worker_compiles_is_sent(built: Built, tmp_path: Path) -> None:
    namespace = {"INDUCTORY_NAMESPACE": "triton-worker"}
    built.node(tmp_path / "builder", **namespace).run("plain", in_worker="scaled")
    answer = built.node(tmp_path / "node", **namespace).run("plain", "scaled")
    assert answer["compiled"] == []
