"""The main job, end to end: compile a model once and publish it; load it everywhere else.

    make demo

Starts a store on SQLite and a folder, compiles Hugging Face's Qwen3 cold in one process, and starts it again
in a second one, with empty caches and a C++ compiler that fails. Leaves build/demo.json.
"""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

HERE = Path(__file__).resolve().parent
BUILD = HERE.parent / "build"

# What Inductor counts whenever it really compiles something.
COMPILE_COUNTERS = ("fxgraph_cache_miss", "pattern_matcher_count", "extern_calls")


def main() -> int:
    with tempfile.TemporaryDirectory(prefix="inductory-demo-") as name:
        folder = Path(name)
        with store(folder / "store") as url:
            say(f"a store is running at {url}: SQLite and a folder, no configuration")
            say("process 1 compiles Qwen3 (12 layers, random weights) and publishes it ...")
            cold = start(folder, "cold", url, os.environ["PATH"])
            say("process 2 starts with empty caches, and a g++ that fails if it is called ...")
            broken, calls = failing_compiler(folder)
            warm = start(folder, "warm", url, f"{broken}{os.pathsep}{os.environ['PATH']}")
            result = compare(folder, cold, warm, calls)
    BUILD.mkdir(exist_ok=True)
    (BUILD / "demo.json").write_text(json.dumps(result, indent=2) + "\n")
    print_table(result, cold, warm)
    good = result["outputs_equal"] and result["close_to_eager"] and result["warm_compiles"] == 0
    print("\nIt works." if good else "\nSomething is WRONG: see above.", "Figures: build/demo.json")
    return 0 if good else 1


def say(message: str) -> None:
    print(f"  {message}", flush=True)


@contextmanager
def store(data_dir: Path) -> Iterator[str]:
    """Run a store on a free port for as long as the demonstration lasts."""
    command = [sys.executable, "-m", "inductory_store", "--port", "0", "--data-dir", str(data_dir)]
    process = subprocess.Popen(command, stdout=subprocess.PIPE, text=True)
    try:
        assert process.stdout is not None
        line = process.stdout.readline()
        if not line.startswith("inductory store: "):
            raise SystemExit(f"the store didn't start: {line!r}")
        yield line.removeprefix("inductory store: ").strip()
    finally:
        process.terminate()
        process.wait()


def start(folder: Path, name: str, url: str, path: str) -> dict[str, Any]:
    """Run demo/start.py as a machine with nothing in its caches. Both have the same signing key."""
    own = folder / name
    own.mkdir()
    environment = {key: value for key, value in os.environ.items() if not key.startswith("INDUCTORY_")}
    environment |= {
        "PATH": path,
        "INDUCTORY_URL": url,
        "INDUCTORY_CACHE_DIR": str(own / "cache"),
        "INDUCTORY_CONFIG_DIR": str(folder / "keys"),
        "TORCHINDUCTOR_CACHE_DIR": str(own / "inductor"),
        "HF_HUB_OFFLINE": "1",
    }
    command = [sys.executable, str(HERE / "start.py"), str(folder / f"{name}.pt")]
    process = subprocess.Popen(
        command, env=environment, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
    )
    assert process.stdout is not None
    assert process.stderr is not None
    told = []
    for line in process.stderr:
        told.append(line)
        if line.startswith(("compiling", "compiled", "Qwen3")):
            say(f"    {line.strip()[:90]}")
    answer = process.stdout.read()
    if process.wait() != 0:
        raise SystemExit(f"process {name} failed:\n{''.join(told)}")
    return json.loads(answer)  # type: ignore[no-any-return]


def failing_compiler(folder: Path) -> tuple[Path, Path]:
    """Make C++ compilers that note that they were called, and fail."""
    tools, calls = folder / "broken", folder / "compiler-calls"
    tools.mkdir()
    for name in ("g++", "gcc", "c++", "cc", "clang", "clang++"):
        (tools / name).write_text(f'#!/bin/sh\necho "{name} $*" >> "{calls}"\nexit 1\n')
        (tools / name).chmod(0o755)
    return tools, calls


def compare(folder: Path, cold: dict[str, Any], warm: dict[str, Any], calls: Path) -> dict[str, Any]:
    """Check the second process against the first, and put the figures together."""
    import torch

    before, after = (torch.load(folder / f"{name}.pt") for name in ("cold", "warm"))
    equal = len(before) == len(after) and all(torch.equal(a, b) for a, b in zip(before, after, strict=True))
    if not counted(cold):
        raise SystemExit("Inductor's counters didn't see process 1 compile, so they prove nothing")
    compiler_calls = len(calls.read_text().splitlines()) if calls.exists() else 0
    pieces_compiled = sum(graph["compiled"] + (graph["outcome"] == "stock") for graph in warm["graphs"])
    return {
        "submodules": total(cold, "submodules"),
        "pieces": total(cold, "pieces"),
        "unique_artifacts": total(cold, "unique"),
        "cold_compile_s": round(seconds(cold, "compile"), 3),
        "warm_fetch_s": round(seconds(warm, "fetch"), 4),
        "warm_load_s": round(seconds(warm, "load"), 4),
        "bytes_raw": total(warm, "bytes_raw"),
        "bytes_moved": total(warm, "bytes_moved"),
        "outputs_equal": equal,
        "close_to_eager": cold["close_to_eager"] and warm["close_to_eager"],
        "warm_compiles": pieces_compiled + counted(warm) + compiler_calls,
        "cold_first_output_s": round(cold["first_output_s"], 3),
        "warm_first_output_s": round(warm["first_output_s"], 3),
        "made_at": time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime()),
    }


def counted(start: dict[str, Any]) -> int:
    return sum(start["inductor_counters"].get(name, 0) for name in COMPILE_COUNTERS)


def total(start: dict[str, Any], name: str) -> int:
    return sum(graph[name] for graph in start["graphs"])


def seconds(start: dict[str, Any], step: str) -> float:
    return float(sum(graph["seconds"].get(step, 0.0) for graph in start["graphs"]))


def print_table(result: dict[str, Any], cold: dict[str, Any], warm: dict[str, Any]) -> None:
    kib = 1024
    rows = [
        ("", "process 1: compiles", "process 2: loads"),
        ("looking at the graph (split, keys)", *(f"{seconds(s, 'capture'):.2f} s" for s in (cold, warm))),
        ("compiling with Inductor", f"{result['cold_compile_s']:.2f} s", "nothing"),
        ("fetching and verifying", "-", f"{result['warm_fetch_s'] * 1000:.0f} ms"),
        ("loading", "-", f"{result['warm_load_s'] * 1000:.0f} ms"),
        (
            "from call to first output, Dynamo included",
            *(f"{result[f'{which}_first_output_s']:.2f} s" for which in ("cold", "warm")),
        ),
    ]
    print()
    for what, left, right in rows:
        print(f"  {what:<44}{left:>20}{right:>20}")
    factor = result["cold_compile_s"] / (result["warm_fetch_s"] + result["warm_load_s"])
    yes = {True: "yes", False: "NO"}
    print(f"""
  The graph has {result["submodules"]} parts; {result["pieces"]} are compiled (the rest is attention),
  and {result["unique_artifacts"]} are different: a middle layer's code is the same in every layer.
  {result["bytes_moved"] // kib} KiB travelled, {result["bytes_raw"] // kib} KiB unpacked, each byte verified.
  Fetching, verifying and loading took 1/{factor:.0f} of compiling.

  outputs bit-equal to process 1:    {yes[result["outputs_equal"]]}
  outputs close to eager PyTorch:    {yes[result["close_to_eager"]]}
  compiled by process 2:             {result["warm_compiles"]} (pieces, Inductor's counters, calls of g++)""")


if __name__ == "__main__":
    if shutil.which("g++") is None:
        raise SystemExit("Inductor needs g++ on CPU; install it (Debian: apt-get install g++)")
    raise SystemExit(main())
