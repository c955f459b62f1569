"""What a start costs that is loaded with its dispatch, beside one that captures and loads its pieces alone.

    python benchmarks/dispatch.py [ROUNDS]  -->  build/bench/dispatch.json

Each round publishes the model of 12 layers once, and starts it in two fresh processes with empty caches,
from a store over HTTP, verification on: one by `inductory_client.load`, one by torch.compile. Imports and the
model's construction come before anything is measured; everything after counts.
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
GOALS = {
    "start_s": ("at_most", 2.0),
    "first_call_s": ("below", 0.05),
    "dispatch_bytes": ("at_most", 120_000),
}
MEASURED = {
    "start_s": "inductory_client.load, the fetch, the load and the first call; medians",
    "first_call_s": "of that, the call itself, once all is loaded",
    "captured_start_s": "the same start by torch.compile: Dynamo, the fetch, the load and the first call",
    "start_over_captured": "start_s / captured_start_s",
    "later_call_s": "a call later on, guards included",
    "guards_s": "of that, the guards; hooks and parts of the model included",
    "bytes_moved": "bytes that travelled for the start with the dispatch: it and the pieces",
    "dispatch_bytes": "the dispatch as it travels: zstd, level 3",
}


def main() -> None:
    rounds = int(sys.argv[1]) if len(sys.argv) > 1 else ROUNDS
    with tempfile.TemporaryDirectory(prefix="inductory-bench-") as folder:
        runs = [
            _round(Path(folder, str(number)), f"round {number} of {rounds}")
            for number in range(1, rounds + 1)
        ]
    names = {"load": ("start_s", "first_call_s", "later_call_s", "guards_s"), "compile": ("start_s",)}
    medians = {
        (side, name): float(statistics.median(run[side][name] for run in runs))
        for side, wanted in names.items()
        for name in wanted
    }
    figures: dict[str, Any] = {name: medians["load", name] for name in names["load"]}
    figures["captured_start_s"] = medians["compile", "start_s"]
    figures["start_over_captured"] = figures["start_s"] / figures["captured_start_s"]
    figures = {name: round(value, 6) for name, value in figures.items()}
    figures |= {name: runs[-1]["load"][name] for name in ("dispatch_bytes", "bytes_moved", "unique")}
    finish("dispatch", figures | {"rounds": rounds}, GOALS, measured=MEASURED, runs=runs)


def _round(folder: Path, label: str) -> dict[str, Any]:
    with _servers.store(folder / "store") as url:
        environ = {"INDUCTORY_URL": url, "INDUCTORY_CONFIG_DIR": str(folder / "keys")}
        found = {
            name: child("_dispatch_start", [how], clean_environ(folder / name, **environ))
            for name, how in (("cold", "load"), ("load", "load"), ("compile", "compile"))
        }
    _check(found)
    with_it, without = found["load"]["start_s"], found["compile"]["start_s"]
    progress(f"{label}: {with_it:.2f} s with the dispatch, {without:.2f} s without")
    return found


def _check(found: dict[str, Any]) -> None:
    """Raise where a run wasn't what it is called: such figures would mean nothing."""
    faults = {
        "the cold start found something": found["cold"]["outcomes"] != ["compiled"],
        "the start with the dispatch captured": found["load"]["captured"] != [False],
        "Dynamo ran in it": bool(found["load"]["dynamo"]),
        "the start without it compiled": found["compile"]["outcomes"] != ["loaded"],
        "they computed different things": len({run["logits_sha256"] for run in found.values()}) != 1,
    }
    wrong = [fault for fault, present in faults.items() if present]
    if wrong:
        raise RuntimeError(f"{'; '.join(wrong)}: {[run['reasons'] for run in found.values()]}")


if __name__ == "__main__":
    main()
