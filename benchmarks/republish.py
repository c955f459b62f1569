"""What a second push of the same model moves.

    python benchmarks/republish.py [PROCESSES]  -->  build/bench/republish.json

A first process compiles the model and pushes it. Then the same model is pushed by the same process; by fresh
processes with empty caches, which load it and publish their start; by `inductory push` of the first one's
cache, to this store and twice to an empty one; and by a fresh process that couldn't reach the store and
compiled all again.
"""

from __future__ import annotations

import sys
import tempfile
from pathlib import Path
from typing import Any

import _servers
from _harness import child, clean_environ, finish, json_of, progress

PROCESSES = 3
GOALS = {"blob_bytes": ("equals", 0), "recompiled_blob_bytes": ("equals", 0)}
MEASURED = {
    "blob_bytes": "bytes of blobs, packed, that all second pushes moved which compiled nothing",
    "first_blob_bytes": "the first push",
    "again_blob_bytes": "the first process, once more",
    "loaded_blob_bytes": "fresh processes that loaded all, together",
    "push_blob_bytes": "`inductory push` of the first one's cache",
    "elsewhere_first_blob_bytes": "the same to an empty store",
    "elsewhere_again_blob_bytes": "the same to that store, once more",
    "recompiled_blob_bytes": "a fresh process that compiled all again",
    "recompiled_different": "its artifacts that differ in any blob from those that the store keeps",
}


def main() -> None:
    processes = int(sys.argv[1]) if len(sys.argv) > 1 else PROCESSES
    with tempfile.TemporaryDirectory(prefix="inductory-bench-") as name:
        folder = Path(name)
        with _servers.store(folder / "store") as url, _servers.store(folder / "elsewhere") as elsewhere:
            runs = _runs(folder, url, elsewhere, processes)
    finish("republish", _figures(runs), GOALS, measured=MEASURED, runs=runs)


def _runs(folder: Path, url: str, elsewhere: str, processes: int) -> dict[str, Any]:
    keys = str(folder / "keys")

    def environ(name: str, store: str) -> dict[str, str]:
        return clean_environ(folder / name, INDUCTORY_CONFIG_DIR=keys, INDUCTORY_URL=store)

    def publish(name: str, store: str, outcome: str) -> dict[str, Any]:
        result = child("_publish", [url], environ(name, store))
        if result["outcomes"] != [outcome]:
            raise RuntimeError(f"the process {name} was to end as {outcome}: {result}")
        progress(f"{name}: {_moved(result['first']):,} bytes, once more {_moved(result['again']):,}")
        return result

    def push(store: str) -> dict[str, Any]:
        command = [sys.executable, "-m", "inductory_client.cli.main", "push", "--json"]
        result = json_of(command, environ("first", store))
        progress(f"inductory push: {result['blob_bytes']:,} bytes of {result['artifacts']} artifacts")
        return result

    return {
        "first": publish("first", url, "compiled"),
        "loaded": [publish(f"loaded{number}", url, "loaded") for number in range(1, processes + 1)],
        "push": push(url),
        "elsewhere_first": push(elsewhere),
        "elsewhere_again": push(elsewhere),
        "recompiled": publish("recompiled", "", "compiled"),
    }


def _figures(runs: dict[str, Any]) -> dict[str, Any]:
    second = {
        "again_blob_bytes": _moved(runs["first"]["again"]),
        "loaded_blob_bytes": sum(_moved(run["first"]) + _moved(run["again"]) for run in runs["loaded"]),
        "push_blob_bytes": runs["push"]["blob_bytes"],
        "elsewhere_again_blob_bytes": runs["elsewhere_again"]["blob_bytes"],
    }
    recompiled = runs["recompiled"]["first"]
    return {
        "blob_bytes": sum(second.values()),
        "first_blob_bytes": _moved(runs["first"]["first"]),
        "first_blobs": sum(report["blobs_sent"] for report in runs["first"]["first"]),
        **second,
        "elsewhere_first_blob_bytes": runs["elsewhere_first"]["blob_bytes"],
        "recompiled_blob_bytes": _moved(recompiled),
        "recompiled_blobs": sum(report["blobs_sent"] for report in recompiled),
        "recompiled_reproduced": sum(report["reproduced"] for report in recompiled),
        "recompiled_different": sum(report["different"] for report in recompiled),
    }


def _moved(reports: list[dict[str, Any]]) -> int:
    return sum(report["blob_bytes"] for report in reports)


if __name__ == "__main__":
    main()
