"""What a warm start costs over a cold one on a GPU, captured and from a loadable dispatch.

    python benchmarks/gpu_warm_start.py [--rounds 3,1,3]  -->  build/bench/gpu_warm_start.json

Every start is a fresh process with empty caches; the store is on the same machine, over HTTP, with
verification on. A round starts the model cold, which compiles and publishes, then warm by capturing it, and
warm from its dispatch. `--rounds` are of normal mode, reproducible mode and max-autotune. With several
`--devices`, rounds run side by side, each on a GPU of its own. Single starts are written to standard error.
"""

from __future__ import annotations

import argparse
import json
import math
import statistics
import sys
import tempfile
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import _servers
from _harness import Goal, child, clean_environ, finish, progress
from inductory_client.client import Client
from inductory_client.settings import Settings

GOALS: dict[str, Goal] = {
    "cold_over_warm": ("at_least", 100),
    "max_autotune_cold_over_warm": ("at_least", 400),
    "pieces_bytes_moved": ("at_most", 150_000),
    "dispatch_bytes_moved": ("at_most", 120_000),
    "warm_start_over_imports_s": ("at_most", 1.0),
    "outputs_equal": ("equals", True),
    "close_to_eager": ("equals", True),
}
MEASURED = {
    "cold_over_warm": "compile / (fetch with verification + load), both captured; medians",
    "cuda_init_s": "of starts from the dispatch, which name their GPU: a thread is at it while they import",
    "warm_start_over_imports_s": "from the dispatch: all after the imports, CUDA's initialisation and the"
    " model's construction, to the first output",
    "dispatch_key_s": "of that, the keys; what fetch, load and guards leave of it is the first run",
    "dynamo_s": "a warm start that captures, without the backend and a later call's time",
    "pieces_bytes_moved": "packed bytes of a warm start that captures",
    "dispatch_bytes_moved": "packed bytes of the whole build, but for the pieces",
    "kernel_ms": "a forward on the GPU alone (CUDA graphs), by tokens",
    "outputs_equal": "cold and warm starts give the same bits, at two lengths",
    "close_to_eager": "relative error of the logits below 0.05 (bfloat16)",
}
RELATIVE_ERROR_MAX = 0.05
MODES = {"normal": "", "reproducible": "reproducible_", "max-autotune": "max_autotune_"}
"""Modes, and what their figures' names begin with."""


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("--rounds", default="3,1,3")
    parser.add_argument("--devices", default="cuda:0")
    parser.add_argument("--begin-within-s", type=float, default=math.inf, help="begin no round after that")
    parser.add_argument("--small", action="store_true", help="a small model, to try this out")
    chosen = parser.parse_args()
    rounds = [
        (mode, number)
        for mode, count in zip(MODES, map(int, chosen.rounds.split(",")), strict=True)
        for number in range(1, count + 1)
    ]
    runs: dict[str, list[dict[str, Any]]] = {mode: [] for mode in MODES}
    began = time.monotonic()

    def work(device: str) -> None:
        starts = ["--device", device, *(["--small"] if chosen.small else [])]
        while rounds and time.monotonic() - began < chosen.begin_within_s:
            mode, number = rounds.pop(0)
            runs[mode].append(_round(Path(folder, mode, str(number)), mode, starts, f"{mode} {number}"))

    with tempfile.TemporaryDirectory(prefix="inductory-bench-") as folder, ThreadPoolExecutor() as pool:
        for done in [pool.submit(work, device) for device in chosen.devices.split(",")]:
            done.result()
    figures: dict[str, Any] = {}
    for mode, prefix in MODES.items():
        if runs[mode]:
            figures |= {prefix + name: value for name, value in _figures(runs[mode]).items()}
    goals = {name: goal for name, goal in GOALS.items() if name in figures}
    finish("gpu_warm_start", figures, goals, measured=MEASURED, runs=runs)


def _round(folder: Path, mode: str, starts: list[str], label: str) -> dict[str, Any]:
    with _servers.store(folder / "store") as url:
        ours = {"INDUCTORY_URL": url, "INDUCTORY_CONFIG_DIR": str(folder / "keys")}

        def start(how: str, name: str, *arguments: str, **more: str) -> dict[str, Any]:
            environ = clean_environ(folder / name, **ours, **more)
            result = child("_gpu_start", [how, "--mode", mode, *starts, *arguments], environ)
            progress(f"{label}: {name}: {result['seconds']['start']:.2f} s, {result['outcomes']}")
            print(json.dumps({"label": label, "name": name} | result), file=sys.stderr, flush=True)
            return result

        cold = start("dispatch", "cold")
        captured = start("captured", "captured", *(["--kernels"] if "cpu" not in starts else []))
        (build,) = cold["builds"]
        dispatch = start("dispatch", "dispatch", INDUCTORY_BUILD=build)
        # What the whole start moves when its build is known; its report counts what came after the prefetch.
        keys = {"config_dir": folder / "keys"}
        with Client(Settings.load({}, url=url, cache_dir=folder / "pulled", **keys)) as client:
            dispatch["bytes_moved"] = client.pull_build(build).bytes_moved
    _check(cold, captured, dispatch)
    return {"cold": cold, "captured": captured, "dispatch": dispatch}


def _check(cold: Any, captured: Any, dispatch: Any) -> None:
    """Raise where a run wasn't what it is called: such figures would mean nothing."""
    faults = {
        "the cold start didn't compile": cold["outcomes"] != ["compiled"],
        "a warm start compiled": not captured["outcomes"] == dispatch["outcomes"] == ["loaded"],
        "a warm start asked for a kernel": captured["compiles"] + dispatch["compiles"] > 0,
        "a warm start tuned a kernel": captured["tunings"] + dispatch["tunings"] > 0,
        "Dynamo ran": dispatch["captured"] != [False] or dispatch["frames"] != {},
    }
    found = [fault for fault, present in faults.items() if present]
    if found:
        reasons = [*cold["reasons"], *captured["reasons"], *dispatch["reasons"]]
        raise RuntimeError(f"{'; '.join(found)}: {reasons}")


def _figures(runs: list[dict[str, Any]]) -> dict[str, Any]:
    def median(kind: str, table: str, *names: str) -> float:
        return float(statistics.median(sum(run[kind][table].get(n, 0.0) for n in names) for run in runs))

    starts = [start for run in runs for start in run.values()]
    load = median("captured", "steps_s", "fetch", "load")
    seconds = {
        "imports_s": median("dispatch", "seconds", "imports"),
        "cuda_init_s": median("dispatch", "seconds", "cuda_init"),
        "model_s": median("dispatch", "seconds", "model"),
        "dynamo_s": statistics.median(_dynamo_s(run["captured"]["seconds"]) for run in runs),
        "cold_compile_s": median("cold", "steps_s", "compile"),
        "cold_start_s": median("cold", "seconds", "start"),
        "fetch_s": median("captured", "steps_s", "fetch"),
        "verify_s": median("captured", "steps_s", "verify"),
        "load_s": median("captured", "steps_s", "load"),
        "first_call_s": median("captured", "seconds", "start"),
        "warm_start_over_imports_s": median("dispatch", "seconds", "start"),
        **{
            f"dispatch_{step}_s": median("dispatch", "steps_s", step)
            for step in ("key", "fetch", "load", "guards")
        },
        "cold_over_warm": median("cold", "steps_s", "compile") / load,
        "cold_steady_s": median("cold", "seconds", "steady"),
        "captured_steady_s": median("captured", "seconds", "steady"),
        "dispatch_steady_s": median("dispatch", "seconds", "steady"),
    }
    last = runs[-1]
    pieces = last["captured"]["bytes_moved"]
    return {name: round(value, 4) for name, value in seconds.items()} | {
        "pieces_bytes_moved": pieces,
        "dispatch_bytes_moved": last["dispatch"]["bytes_moved"] - pieces,
        "kernel_ms": _kernel_ms([run["captured"]["kernel_ms"] for run in runs]),
        "pieces": last["captured"]["pieces"],
        "unique": last["captured"]["unique"],
        "outputs_equal": all(len({tuple(s["sha256"]) for s in run.values()}) == 1 for run in runs),
        "close_to_eager": all(s["relative_error"] < RELATIVE_ERROR_MAX and s["finite"] for s in starts),
        "gpu": last["cold"]["gpu"],
        "rounds": len(runs),
    }


def _kernel_ms(runs: list[dict[str, float]]) -> dict[str, float]:
    """Return the medians by tokens."""
    known = [run for run in runs if run]
    return {
        tokens: round(statistics.median(run[tokens] for run in known), 4) for tokens in (known or [{}])[0]
    }


def _dynamo_s(seconds: dict[str, float]) -> float:
    return seconds["start"] - seconds["backend"] - seconds["steady"]


if __name__ == "__main__":
    main()
