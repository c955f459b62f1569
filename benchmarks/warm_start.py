"""What a warm start costs over a cold compile, and what stock Inductor's own remote cache makes of it.

    python benchmarks/warm_start.py [ROUNDS]  -->  build/bench/warm_start.json

Each round starts the model in four fresh processes with empty caches, each side against a server of its own
that was empty before the cold one: Inductory cold and warm (a store over HTTP, verification on), stock
Inductor cold and warm (torch's Redis cache for both of its caches).
All import torch, Dynamo and compile_fx first.
"""

from __future__ import annotations

import statistics
import sys
import tempfile
from pathlib import Path
from typing import Any

import _servers
from _harness import child, clean_environ, finish, progress

ROUNDS = 3
GOALS = {"warm_over_cold": ("at_most", round(1 / 6, 4)), "warm_over_redis": ("below", 1.0)}
MEASURED = {
    "warm_over_cold": "(fetch with verification + load) / compile, of the graphs' reports; medians",
    "redis_over_cold": "stock Inductor served by Redis: time in the backend, warm over cold; medians",
    "warm_over_redis": "warm_over_cold / redis_over_cold",
    "backend_over_cold": "Inductory measured as redis_over_cold is: all time in the backend, warm over cold;"
    " it publishes in the background, while torch's backend waits for its puts into Redis",
    "backend_over_redis": "backend_over_cold / redis_over_cold",
    "warm_over_stock_cold": "time in Inductory's backend, warm, over time in stock Inductor's, cold",
    "warm_first_call_s": "the first call of a warm process, Dynamo included",
}


def main() -> None:
    rounds = int(sys.argv[1]) if len(sys.argv) > 1 else ROUNDS
    runs = []
    with tempfile.TemporaryDirectory(prefix="inductory-bench-") as folder:
        for number in range(1, rounds + 1):
            runs.append(_round(Path(folder, str(number)), f"round {number} of {rounds}"))
    finish("warm_start", _figures(runs), GOALS, measured=MEASURED, runs=runs)


def _round(folder: Path, label: str) -> dict[str, Any]:
    with _servers.store(folder / "store") as url:
        # A fleet's nodes trust the publisher's key: the two machines of this round share a folder of keys.
        ours = {"INDUCTORY_URL": url, "INDUCTORY_CONFIG_DIR": str(folder / "keys")}
        cold = _start("inductory", folder / "ours-cold", ours, f"{label}: Inductory, cold")
        warm = _start("inductory", folder / "ours-warm", ours, f"{label}: Inductory, warm")
    with _servers.redis(folder / "redis") as url:
        stock = {
            "TORCHINDUCTOR_REDIS_URL": url,
            "TORCHINDUCTOR_FX_GRAPH_REMOTE_CACHE": "1",
            "TORCHINDUCTOR_AUTOGRAD_REMOTE_CACHE": "1",
        }
        stock_cold = _start("inductor", folder / "stock-cold", stock, f"{label}: stock Inductor, cold")
        stock_warm = _start(
            "inductor", folder / "stock-warm", stock, f"{label}: stock Inductor, warm by Redis"
        )
    _check(cold, warm, stock_cold, stock_warm)
    return {"cold": cold, "warm": warm, "stock_cold": stock_cold, "stock_warm": stock_warm}


def _start(backend: str, home: Path, environ: dict[str, str], label: str) -> dict[str, Any]:
    result = child("_start", [backend], clean_environ(home, **environ))
    progress(
        f"{label}: {result['backend_s']:.2f} s in the backend, {result['first_call_s']:.2f} s the first call"
    )
    return result


def _check(cold: Any, warm: Any, stock_cold: Any, stock_warm: Any) -> None:
    """Raise where a run wasn't what it is called: such figures would mean nothing."""
    faults = {
        "the cold start didn't compile": cold["outcomes"] != ["compiled"],
        "the warm start compiled": warm["outcomes"] != ["loaded"],
        "the warm start computed something else": cold["logits_sha256"] != warm["logits_sha256"],
        "stock Inductor's cold start found something": stock_cold["autograd_cache_hits"] != 0,
        "Redis served nothing": stock_warm["autograd_cache_hits"] == 0,
    }
    found = [fault for fault, present in faults.items() if present]
    if found:
        raise RuntimeError(f"{'; '.join(found)}: {[*cold['reasons'], *warm['reasons']]}")


def _figures(runs: list[dict[str, Any]]) -> dict[str, Any]:
    def median(side: str, *steps: str) -> float:
        spent = [run[side]["steps_s"] if steps else run[side] for run in runs]
        return float(statistics.median(sum(each[name] for name in steps or ("backend_s",)) for each in spent))

    warm_over_cold = median("warm", "fetch", "load") / median("cold", "compile")
    redis_over_cold = median("stock_warm") / median("stock_cold")
    backend_over_cold = median("warm") / median("cold")
    figures = {
        "warm_over_cold": warm_over_cold,
        "redis_over_cold": redis_over_cold,
        "warm_over_redis": warm_over_cold / redis_over_cold,
        "backend_over_cold": backend_over_cold,
        "backend_over_redis": backend_over_cold / redis_over_cold,
        "warm_over_stock_cold": median("warm") / median("stock_cold"),
        "cold_compile_s": median("cold", "compile"),
        "cold_backend_s": median("cold"),
        "warm_capture_s": median("warm", "capture"),
        "warm_fetch_s": median("warm", "fetch"),
        "warm_verify_s": median("warm", "verify"),
        "warm_load_s": median("warm", "load"),
        "warm_backend_s": median("warm"),
        "warm_first_call_s": statistics.median(run["warm"]["first_call_s"] for run in runs),
        "stock_cold_backend_s": median("stock_cold"),
        "stock_warm_backend_s": median("stock_warm"),
    }
    last = runs[-1]["warm"]
    counts = {name: last[name] for name in ("pieces", "unique", "bytes_moved")}
    return {name: round(value, 4) for name, value in figures.items()} | counts | {"rounds": len(runs)}


if __name__ == "__main__":
    main()
