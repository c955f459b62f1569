"""Artifacts for a GPU that can't be used: compiled anew, one line says why, and what runs is right."""

from __future__ import annotations

from functools import cache
from typing import Any

import msgspec
import pytest
from gpu_machine import built, folder, run
from inductory_client.contract.errors import LoadFailed, TargetMismatch
from inductory_client.contract.target import Target
from inductory_client.graph.load import load_piece

FOUND = "a graph is compiled, though it was found: "
NAMES = {
    "machine code cut short": "the driver doesn't take the kernel triton_",
    "no machine code": "the driver doesn't take the kernel triton_",
    "machine code of another kernel": "the driver doesn't take the kernel triton_other",
    "a kernel's file cut short": "a kernel's file can't be read",
    "a kernel's file that isn't one": "a kernel's file can't be read",
    "a kernel's file of another version": "a kernel's file is of version 2, not 1",
    "a kernel's file with more in it": "a kernel's file can't be read",
    "too few types": "a kernel's file doesn't say of each argument what it is",
    "no warps": "a kernel's file can't be read",
    "a grid that isn't one": "SyntaxError",
    "a kernel missing": "the artifact lacks a kernel that its source needs",
    "a newer driver needed": "cuda.driver: 13.0 here, at least 14.0 needed",
    "something unknown needed": "cuda.nvlink: absent here, at least 4.0 needed",
    "constants": "the piece holds constants",
    "several GPUs": "the piece was compiled for GPU 1, not 0",
    "source for several GPUs": "generated code names several GPUs: 0, 1",
    "an index from a variable": "generated code takes a GPU's index from len(args)",
    "a driver of 12080": "cuda.driver: 12.8 here, at least 13.0 needed",
    "a driver of None": "cuda.driver: absent here, at least 13.0 needed",
}
"""What is told of each kind of damage (see `gpu_damage`)."""

FACTORS = ("cuda.capability", "cuda.multiprocessors", "cuda.device", "cuda.version", "triton.key",
           "triton.ptxas")  # fmt: skip


@cache
def starts() -> dict[str, Any]:
    """A start for each kind of damage, in one process."""
    place = folder() / "damage"
    (place / "nodes").mkdir(parents=True)
    return run("damage", place, folder=str(place / "nodes"))


def launches(start: dict[str, Any]) -> list[Any]:
    assert len(start["launches"]) == 2
    return list(start["launches"])


def test_what_is_whole_is_loaded_on_either_gpu() -> None:
    assert starts()["nothing"]["outcome"] == "compiled"
    for name, device in (("whole", 0), ("another GPU", 1)):
        start = starts()[name]
        assert (start["outcome"], start["hits"], start["compiled"]) == ("loaded", 1, 0), start["reason"]
        assert start["warnings"] == []
        expected = [
            launch | {"device": device, "stream": 7000 + device} for launch in launches(starts()["nothing"])
        ]
        assert launches(start) == expected


def test_a_process_compiles_for_one_gpu_after_another() -> None:
    """torch remembers what it made on the first."""
    start = starts()["nothing, on another GPU"]
    assert (start["outcome"], start["compiled"], start["warnings"]) == ("compiled", 1, [])
    assert launches(start) == launches(starts()["another GPU"])


@pytest.mark.parametrize("name", NAMES)
def test_what_is_damaged_is_compiled_and_told_of_in_one_line(name: str) -> None:
    start = starts()[name]
    assert (start["outcome"], start["hits"], start["compiled"]) == ("compiled", 1, 1), start["reason"]
    (warning,) = start["warnings"]
    assert warning.startswith(FOUND)
    assert NAMES[name] in warning
    assert "\n" not in warning
    assert launches(start) == launches(starts()["nothing"]), "and what runs is right"


@pytest.mark.parametrize("factor", FACTORS)
def test_what_was_made_for_another_machine_is_not_run(factor: str) -> None:
    """Though it was signed, and lies where it is looked for."""
    start = starts()[factor]
    assert (start["outcome"], start["hits"], start["compiled"]) == ("compiled", 0, 1)
    assert len(start["warnings"]) == 1
    assert launches(start) == launches(starts()["nothing"])


@pytest.mark.parametrize("factor", FACTORS)
def test_the_loader_names_the_factor(factor: str) -> None:
    draft = built(0).draft("total")
    blobs = {blob.descriptor.digest: blob.data for blob in draft.blobs}
    ours = Target({**draft.target.factors, factor: "another"})
    with pytest.raises(TargetMismatch, match=f"{factor}: another here, .+ there") as refusal:
        load_piece(draft.subject, blobs, ours, 0)
    assert str(refusal.value).count("\n") == 0


def test_an_index_that_is_not_there_is_refused() -> None:
    (refusal,) = starts()["a GPU that isn't there"]["warnings"]
    assert refusal.startswith("LoadFailed: the driver doesn't take the kernel")
    assert "invalid device ordinal" in refusal


def test_code_for_a_gpu_is_not_loaded_for_none() -> None:
    """Neither what says that it needs a driver, nor what doesn't."""
    draft = built(0).draft("total")
    blobs = {blob.descriptor.digest: blob.data for blob in draft.blobs}
    with pytest.raises(TargetMismatch, match=r"cuda\.driver: absent here, at least 13\.0 needed"):
        load_piece(draft.subject, blobs, draft.target)
    careless = msgspec.structs.replace(draft.subject, requires={})
    with pytest.raises(LoadFailed):
        load_piece(careless, blobs, draft.target)
