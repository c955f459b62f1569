"""Pieces for a GPU, compiled in full and loaded where nothing can be compiled. The GPU itself isn't there."""

from __future__ import annotations

import ast

import pytest
from gpu_machine import SHARED, built, loaded
from inductory_client.contract.descriptor import NATIVE, PAYLOAD
from inductory_client.graph.device_source import on_device
from inductory_client.graph.kernel_file import decode_kernel, for_device_0
from inductory_client.publication import Draft


def payload(draft: Draft) -> bytes:
    (found,) = (blob.data for blob in draft.blobs if blob.media_type == PAYLOAD)
    return found


def kernels(draft: Draft) -> dict[str, bytes]:
    """The GPU kernels of an artifact; those of the host are libraries."""
    natives = {blob.name: blob.data for blob in draft.blobs if blob.media_type == NATIVE}
    return {name: data for name, data in natives.items() if not data.startswith(b"\x7fELF")}


@pytest.mark.parametrize("name", SHARED)
def test_builders_agree_on_every_byte(name: str) -> None:
    """Other processes, hash seeds, folders, order of compiling, and another GPU of the machine."""
    first, second = built(0).draft(name), built(1).draft(name)
    assert [blob.name for blob in first.blobs] == [blob.name for blob in second.blobs]
    for one, other in zip(first.blobs, second.blobs, strict=True):
        assert one.data == other.data, (one.media_type, one.name)
    assert first.subject == second.subject


@pytest.mark.parametrize("name", SHARED)
def test_nothing_of_the_builder_travels(name: str) -> None:
    for device in (0, 1):
        place = built(device).place
        for blob in built(device).draft(name).blobs:
            for told in (str(place), place.name, "inductory-compile-", "cuda:1"):
                assert told.encode() not in blob.data, (blob.media_type, blob.name)


@pytest.mark.parametrize("name", SHARED)
def test_a_payload_holds_no_tuner_and_no_kernel(name: str) -> None:
    data = payload(built(0).draft(name))
    for told in (b"CachingAutotuner", b"triton_heuristics", b"tl.load", b"@triton.jit", b"JITFunction"):
        assert told not in data


def test_machine_code_is_what_a_gpu_runs() -> None:
    """Assembled for the capability that was asked for: 90 stands in the header's flags."""
    found = [decode_kernel(data) for name in SHARED for data in kernels(built(0).draft(name)).values()]
    assert len(found) >= 8
    for kernel in found:
        assert kernel.cubin.startswith(b"\x7fELF")
        assert 90 in (kernel.cubin[48], kernel.cubin[49])
        assert kernel.name.encode() in kernel.cubin


@pytest.mark.parametrize("name", SHARED)
def test_source_for_another_index_is_what_torch_generates_for_it(name: str) -> None:
    """Both ways; but for what only a benchmark reads."""
    zero, one = (_parsed(built(device).answer["sources"][name]) for device in (0, 1))
    assert ast.unparse(zero) != ast.unparse(one)
    assert ast.unparse(on_device(zero, 1)) == ast.unparse(one)
    zero, one = (_parsed(built(device).answer["sources"][name]) for device in (0, 1))
    assert ast.unparse(on_device(one, 0)) == ast.unparse(zero)


def _parsed(source: str) -> ast.Module:
    """Without the text that says how kernels were tuned, and with kernels' sources as they are named."""
    tree = ast.parse(source)
    tree.body = [part for part in tree.body if not _is_text(part)]
    for node in ast.walk(tree):
        if isinstance(node, ast.Constant) and isinstance(node.value, str):
            node.value = for_device_0(node.value)
    return tree


def _is_text(part: ast.stmt) -> bool:
    return isinstance(part, ast.Expr) and isinstance(part.value, ast.Constant)


@pytest.mark.parametrize("name", SHARED)
def test_loaded_pieces_launch_what_torch_launches(name: str) -> None:
    """For every size: the same kernels with the same grids, warps, shared memory and arguments, in order."""
    expected = built(0).answer["launches"][name]
    assert loaded().answer["launches"]["0"][name] == expected
    assert any("grid" in launch for launches in expected.values() for launch in launches)
    assert built(1).answer["launches"][name] == loaded().answer["launches"]["1"][name]


def test_a_second_gpu_is_given_its_own_stream_and_code() -> None:
    launches = [
        launch
        for by_size in loaded().answer["launches"]["1"].values()
        for found in by_size.values()
        for launch in found
        if "grid" in launch
    ]
    assert {launch["device"] for launch in launches} == {1}
    assert {launch["stream"] for launch in launches} == {7001}


def test_grids_are_torchs_for_any_size() -> None:
    """Each kernel, launched by torch's own launcher and by ours with the same numbers."""
    pairs = built(0).answer["pairs"]
    assert len(pairs) >= 50
    for theirs, ours in pairs:
        assert theirs == ours
    grids = {tuple(theirs["grid"]) for theirs, _ in pairs}
    assert any(y > 1 for _, y, _ in grids)
    assert any(z > 1 for _, _, z in grids), "a grid whose statements come before its expressions"


def test_a_load_compiles_nothing_and_needs_no_triton() -> None:
    """PATH was empty and Triton couldn't be imported."""
    answer, place = loaded().answer, loaded().place
    assert answer["triton"] == []
    assert answer["counters"].get("inductor", {}) == {}
    written = [path for part in ("inductor", "triton", "tmp") for path in (place / part).rglob("*")]
    assert [path for path in written if path.is_file()] == []


def test_a_part_for_the_host_is_run_there() -> None:
    assert loaded().answer["host"] is True


def test_the_first_call_on_another_gpu_is_refused() -> None:
    assert loaded().answer["refused"] == {
        "0": "code for cuda:0 was called with a tensor on cuda:1",
        "1": "code for cuda:1 was called with a tensor on cuda:0",
    }
