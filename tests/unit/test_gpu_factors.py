"""What is in the key of code for a GPU, and what isn't."""

from __future__ import annotations

import os
import stat
from pathlib import Path
from types import SimpleNamespace

import pytest
import torch
from gpu_absent import H200
from inductory_client.contract.target import Target
from inductory_client.graph import torch_private
from inductory_client.graph.factors import current_target
from inductory_client.graph.unsupported import Unsupported


@pytest.fixture(autouse=True)
def _gpus(monkeypatch: pytest.MonkeyPatch) -> None:
    have(monkeypatch)


def have(monkeypatch: pytest.MonkeyPatch, **properties: object) -> None:
    """Have torch speak of H200s, but for `properties`."""
    found = SimpleNamespace(**(H200 | properties))
    monkeypatch.setattr(torch.cuda, "get_device_properties", lambda device=None: found)
    monkeypatch.setattr(torch.version, "cuda", "13.0")


def target(device: str = "cuda:0") -> Target:
    return current_target([device])


def test_a_gpu_is_described_by_what_code_is_made_for() -> None:
    factors = target().factors
    assert {name: value for name, value in factors.items() if name.startswith("cuda.")} == {
        "cuda.device": "NVIDIA H200",
        "cuda.capability": "9.0",
        "cuda.multiprocessors": "132",
        "cuda.registers": "65536",
        "cuda.threads": "2048",
        "cuda.warp": "32",
        "cuda.version": "13.0",
        "cuda.fp32.matmul": torch.backends.cuda.matmul.fp32_precision,
        "cuda.fp32.conv": torch.backends.cudnn.conv.fp32_precision,
    }
    assert factors["triton.ptxas"] == "bundled"
    assert len(factors["triton.key"]) == 64
    assert not any(name.startswith("cpu.") for name in factors), "nothing of it runs there"


def test_the_index_is_no_factor() -> None:
    assert target("cuda:0") == target("cuda:1") == target("cuda")


def test_a_graph_that_computes_on_both_has_the_factors_of_both() -> None:
    both = current_target(["cuda:1", "cpu"]).factors
    assert both == current_target(["cpu"]).factors | target().factors


OTHER_GPUS = {
    "name": ("cuda.device", "NVIDIA H100"),
    "minor": ("cuda.capability", 1),
    "major": ("cuda.capability", 8),
    "multi_processor_count": ("cuda.multiprocessors", 114),
    "regs_per_multiprocessor": ("cuda.registers", 32768),
    "max_threads_per_multi_processor": ("cuda.threads", 1536),
    "warp_size": ("cuda.warp", 64),
}


@pytest.mark.parametrize("name", OTHER_GPUS)
def test_another_gpu_is_another_target_in_one_factor(monkeypatch: pytest.MonkeyPatch, name: str) -> None:
    ours = target().factors
    factor, value = OTHER_GPUS[name]
    have(monkeypatch, **{name: value})
    assert {key for key, value in target().factors.items() if ours.get(key) != value} == {factor}


@pytest.mark.parametrize("name", ["L2_cache_size", "total_memory", "shared_memory_per_block_optin"])
def test_what_no_code_holds_is_no_factor(monkeypatch: pytest.MonkeyPatch, name: str) -> None:
    ours = target()
    have(monkeypatch, **{name: 1})
    assert target() == ours


def test_another_cuda_and_another_precision_are_other_targets(monkeypatch: pytest.MonkeyPatch) -> None:
    ours = target()
    with monkeypatch.context() as patched:
        patched.setattr(torch.version, "cuda", "12.8")
        assert target().factors["cuda.version"] == "12.8"
    before = torch.backends.cuda.matmul.fp32_precision
    torch.backends.cuda.matmul.fp32_precision = "tf32"
    try:
        assert target().factors["cuda.fp32.matmul"] == "tf32"
        assert target().factors["matmul.precision"].startswith("cuda tf32"), "torch has another name for it"
    finally:
        torch.backends.cuda.matmul.fp32_precision = before
    assert target() == ours


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("TRITON_DEFAULT_FP_FUSION", "0"),
        ("DISABLE_LLVM_OPT", "1"),
        ("DISABLE_PTXAS_OPT", "1"),
        ("TRITON_F32_DEFAULT", "ieee"),
        ("PTXAS_OPTIONS", "-O1"),
        ("TRITON_LIBDEVICE_PATH", "/elsewhere/libdevice.10.bc"),
        ("TRITON_KERNEL_OVERRIDE", "1"),
    ],
)
def test_what_triton_heeds_is_a_factor(monkeypatch: pytest.MonkeyPatch, name: str, value: str) -> None:
    ours = target().factors
    monkeypatch.setenv(name, value)
    theirs = target().factors
    assert theirs.keys() - ours.keys() == {f"triton.{name}"}
    assert all(theirs[key] == value for key, value in ours.items())
    assert current_target(["cpu"]).factors.keys() & {f"triton.{name}"} == set()


@pytest.mark.parametrize("name", ["TRITON_CACHE_DIR", "TRITON_DUMP_DIR", "TRITON_DISABLE_LINE_INFO"])
def test_what_changes_no_kernel_is_no_factor(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, name: str
) -> None:
    ours = target()
    monkeypatch.setenv(name, "1" if name.endswith("INFO") else str(tmp_path))
    assert target() == ours


def assembler(folder: Path, answer: str) -> str:
    path = folder / "ptxas"
    path.write_text(f"#!/bin/sh\n{answer}\n")
    path.chmod(path.stat().st_mode | stat.S_IXUSR)
    return str(path)


def test_a_chosen_assembler_is_known_by_its_version(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """Not by its place, and on the newest GPUs it is another one that is chosen."""
    mine = assembler(tmp_path, "echo 'Cuda compilation tools, release 12.4, V12.4.99'")
    monkeypatch.setenv("TRITON_PTXAS_PATH", mine)
    assert target().factors["triton.ptxas"] == "12.4"
    have(monkeypatch, major=10)
    assert target().factors["triton.ptxas"] == "bundled"
    monkeypatch.setenv("TRITON_PTXAS_BLACKWELL_PATH", mine)
    assert target().factors["triton.ptxas"] == "12.4"


def test_the_assembler_that_torch_brings_is_not_asked(monkeypatch: pytest.MonkeyPatch) -> None:
    bundled = os.path.join(os.path.dirname(torch.__file__), "bin", "ptxas")
    monkeypatch.setenv("TRITON_PTXAS_PATH", bundled)
    assert target().factors["triton.ptxas"] == "bundled"


def test_an_assembler_that_does_not_say_its_version_leaves_the_graph_alone(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    from triton import knobs

    monkeypatch.setenv("TRITON_PTXAS_PATH", assembler(tmp_path, "exit 1"))
    monkeypatch.setattr(vars(type(knobs.nvidia))["ptxas"], "default_path", str(tmp_path / "absent"))
    with pytest.raises(Unsupported, match="TRITON_PTXAS_PATH names a ptxas whose version can't be told"):
        target()


def test_amd_and_other_devices_are_not_keyed(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(torch.version, "hip", "6.4")
    with pytest.raises(Unsupported, match="'cuda' aren't keyed"):
        target()


def test_machine_code_asks_for_a_driver_of_its_major_version(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(torch.version, "cuda", "13.2")
    assert torch_private.gpu_requirements() == {"cuda.driver": "13.0"}
