"""What tests of GPUs run in processes of their own: `python gpu_program.py JOB`, JSON in and JSON out.

A job is {"what": ..., "library": ..., "folder": ...} and what that needs. In such a process there is a GPU,
as far as anybody can tell (see `gpu_absent`).
"""

from __future__ import annotations

import dataclasses
import json
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import msgspec
import torch
from gpu_absent import AbsentGpus, pretend

JOB: dict[str, Any] = json.loads(sys.argv[1])
FOLDER = Path(JOB["folder"])
if JOB["what"] == "load":
    sys.modules["triton"] = None  # type: ignore[assignment]  # a machine on which it isn't installed
DRIVER: AbsentGpus = pretend(Path(JOB["library"]))

from gpu_cases import CASES, form_of  # noqa: E402
from inductory_client.contract.descriptor import GRAPH  # noqa: E402
from inductory_client.graph import torch_private  # noqa: E402
from inductory_client.graph.load import load_piece  # noqa: E402
from inductory_client.publication import Draft  # noqa: E402


def read_draft(name: str) -> Draft:
    return msgspec.msgpack.decode((FOLDER / f"{name}.draft").read_bytes(), type=Draft)


def blobs_of(draft: Draft) -> dict[str, bytes]:
    return {blob.descriptor.digest: blob.data for blob in draft.blobs}


def sizes(name: str) -> tuple[int, ...]:
    return tuple(JOB["sizes"]) if CASES[name].dynamic else (64,)


def arguments(name: str, rows: int, form: Any) -> list[Any]:
    """A piece's inputs in the order of its form, which has symbols among them."""
    inputs = iter(CASES[name].inputs(rows))
    return [rows if "size" in encoded else next(inputs) for encoded in form["inputs"]]


def form_in(draft: Draft) -> Any:
    return json.loads(next(blob.data for blob in draft.blobs if blob.media_type == GRAPH))


def launched(call: Any, inputs: list[Any]) -> list[dict[str, Any]]:
    """Call a piece and return what it launched. Where the host computes, what it computes is there."""
    DRIVER.launches.clear()
    outputs = call(*inputs)
    found = [dataclasses.asdict(launch) for launch in DRIVER.launches]
    return [*found, {"outputs": [[list(value.shape), list(value.stride())] for value in outputs]}]


# --- compile ---


@contextmanager
def seen() -> Iterator[tuple[dict[str, Any], list[Any]]]:
    """While pieces are compiled, gather the source that torch made of each and the kernels that it tuned."""
    from inductory_compiler import compile_piece

    sources: dict[str, Any] = {}
    tuned: list[Any] = []
    stock_portable, stock_launch_of = compile_piece.portable, torch_private.launch_of

    def portable(source: str, device: int) -> str:
        sources["last"] = source
        return stock_portable(source, device)

    def launch_of(autotuner: Any) -> torch_private.Launch:
        launch = stock_launch_of(autotuner)
        tuned.append((autotuner, launch))
        return launch

    compile_piece.portable, torch_private.launch_of = portable, launch_of  # type: ignore[assignment]
    try:
        yield sources, tuned
    finally:
        compile_piece.portable, torch_private.launch_of = stock_portable, stock_launch_of


def captured(form: Any) -> Any:
    """Return a graph as it is captured on the GPU that is the current one."""
    from inductory_client.graph.captured import capture
    from inductory_client.graph.reproducible import PATCHES
    from inductory_compiler.rebuild import rebuild

    rebuilt = rebuild(form, torch.cuda.current_device())
    return capture(rebuilt.module, rebuilt.inputs, options=PATCHES)


def compile_all() -> dict[str, Any]:
    """Compile cases for a device, leave their drafts in the folder, and launch them by torch's own means."""
    from inductory_client.graph.reproducible import PATCHES
    from inductory_compiler.pieces import compile_pieces

    device = JOB["device"]
    answer: dict[str, Any] = {"sources": {}, "launches": {}, "pairs": []}
    for name in JOB["cases"]:
        with torch.cuda.device(device), seen() as (sources, tuned):
            form = form_of(name)
            graph = captured(form)
            found = compile_pieces(graph.unique, graph.target, PATCHES, graph.options, graph.device)
            (result,) = found.values()
            inputs = {rows: arguments(name, rows, form) for rows in sizes(name)}
            answer["launches"][name] = {rows: launched(result.call, each) for rows, each in inputs.items()}
        answer["sources"][name] = sources["last"]
        answer["pairs"] += [pair for autotuner, launch in tuned for pair in pairs(autotuner, launch)]
        (FOLDER / f"{name}.draft").write_bytes(msgspec.msgpack.encode(result.draft))
    answer["needs_tuning"] = torch_private.needs_tuning(untuned(tuned[-1][0]))
    return answer


def pairs(autotuner: Any, launch: torch_private.Launch) -> Iterator[list[dict[str, Any]]]:
    """For several sizes, what torch's launcher launches and what ours does."""
    from inductory_client.graph.kernel_file import LoadedKernel, decode_kernel, encode_kernel

    ours = LoadedKernel(decode_kernel(encode_kernel(launch)), JOB["device"]).run
    tensor = torch.ones(2, 3)
    for size in JOB["numels"]:
        values = [tensor if "ptr" in name else size for name in launch.parameters]
        DRIVER.launches.clear()
        autotuner.launchers[0](*values, stream=5)
        ours(*values, stream=5)
        yield [dataclasses.asdict(launch) for launch in DRIVER.launches]


def untuned(autotuner: Any) -> Any:
    """A kernel that has two configurations to choose from."""
    autotuner.launchers = autotuner.launchers * 2
    return autotuner


# --- load ---


def load_all() -> dict[str, Any]:
    """Load every case on every device of this machine, which has no compiler and no Triton, and run it."""
    answer: dict[str, Any] = {"launches": {}, "refused": {}}
    for device in JOB["devices"]:
        of_device = answer["launches"][str(device)] = {}
        for name in JOB["cases"]:
            draft = read_draft(name)
            form = form_in(draft)
            call = load_piece(draft.subject, blobs_of(draft), draft.target, device)
            if name == JOB.get("elsewhere"):
                answer["refused"][str(device)] = elsewhere(call, arguments(name, 64, form), 1 - device)
            inputs = {rows: arguments(name, rows, form) for rows in sizes(name)}
            of_device[name] = {rows: launched(call, each) for rows, each in inputs.items()}
    draft = read_draft("both")
    x, y = arguments("both", 64, form_in(draft))
    host = load_piece(draft.subject, blobs_of(draft), draft.target, 0)(x, y - 3)[1]
    answer["host"] = bool(torch.equal(host, (y - 3).relu()))
    answer["counters"] = torch_private.counters()
    answer["triton"] = [name for name, module in sys.modules.items() if module and within_triton(name)]
    return answer


def within_triton(name: str) -> bool:
    return name == "triton" or name.startswith("triton.")


def elsewhere(call: Any, inputs: list[Any], device: int) -> str:
    """Return what is said of a first call with tensors of another device."""
    with torch_private.FakeTensorMode():
        inputs = [
            torch.empty(value.shape, device=f"cuda:{device}") if isinstance(value, torch.Tensor) else value
            for value in inputs
        ]
    try:
        call(*inputs)
    except RuntimeError as error:
        return str(error)
    return ""


def main() -> None:
    if JOB["what"] == "damage":
        from gpu_damage import start_all

        answer = start_all(DRIVER, FOLDER)
    else:
        answer = {"compile": compile_all, "load": load_all}[JOB["what"]]()
    print(json.dumps(answer))


if __name__ == "__main__":
    main()
