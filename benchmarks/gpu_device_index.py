"""Pieces that were compiled for one GPU, loaded on another. Needs two GPUs of a kind.

    python benchmarks/gpu_device_index.py [--layers N]  -->  build/bench/gpu_device_index.json

In reproducible mode: the model is compiled on either GPU, by processes with other folders and hash seeds,
each into a store of its own; then what was compiled on the first is loaded on the second, and on both in one
process.
"""

from __future__ import annotations

import argparse
import tempfile
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import _servers
from _harness import Goal, child, clean_environ, finish, progress
from inductory_client.client import Client
from inductory_client.settings import Settings

MODE = "reproducible"
GOALS: dict[str, Goal] = {
    name: ("equals", True)
    for name in ("equal_bytes", "equal_keys", "loaded", "outputs_equal", "loaded_both", "both_outputs_equal")
}
MEASURED = {
    "equal_bytes": "all blobs of all pieces, sources to read included, compiled on GPU 0 and on GPU 1",
    "loaded": "a start on GPU 1 from what was compiled on GPU 0 compiles nothing",
    "outputs_equal": "it gives the bits that the compile on GPU 0 gave, at two lengths",
    "loaded_both": "one process loads the same pieces for both GPUs",
    "peer_access": "one GPU may read the other's memory: wrong code would run without a word",
}


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("--layers", type=int, default=28)
    layers = parser.parse_args().layers
    runs: dict[str, Any] = {}
    with (
        tempfile.TemporaryDirectory(prefix="inductory-bench-") as name,
        _servers.store(Path(name, "store0")) as url0,
        _servers.store(Path(name, "store1")) as url1,
        ThreadPoolExecutor() as pool,
    ):
        first = _Machine(Path(name, "first"), url0, layers, runs)
        second = _Machine(Path(name, "second"), url1, layers, runs)
        for done in (
            pool.submit(first.start, "compiled_on_0", "dispatch", "cuda:0", PYTHONHASHSEED="1"),
            pool.submit(second.start, "compiled_on_1", "captured", "cuda:1", PYTHONHASHSEED="2"),
        ):
            done.result()
        loading = pool.submit(first.start, "loaded_on_1", "captured", "cuda:1")
        runs["both"] = child("_gpu_both", [MODE, str(layers)], first.environ("both"))
        loading.result()
        progress(f"both: {runs['both']}")
        ours = first.blobs(runs["compiled_on_0"]["keys"])
        theirs = second.blobs(runs["compiled_on_1"]["keys"])
    compiled, loaded, both = runs["compiled_on_0"], runs["loaded_on_1"], runs["both"]
    differing = sorted(name for name in ours.keys() | theirs.keys() if ours.get(name) != theirs.get(name))
    figures = {
        "equal_keys": compiled["keys"] == runs["compiled_on_1"]["keys"],
        "equal_bytes": not differing and bool(ours),
        "blobs": len(ours),
        "loaded": loaded["outcomes"] == ["loaded"] and loaded["device"] == "cuda:1",
        "outputs_equal": loaded["sha256"] == compiled["sha256"],
        "loaded_both": both["outcomes"] == ["loaded", "loaded"] and both["devices"] == ["cuda:0", "cuda:1"],
        "both_outputs_equal": set(both["sha256"]) == {compiled["sha256"][0]},
        "peer_access": both["peer_access"],
        "load_on_1_s": round(loaded["steps_s"].get("load", 0.0), 4),
        "layers": layers,
        "gpu": compiled["gpu"],
    }
    finish("gpu_device_index", figures, GOALS, measured=MEASURED, runs=runs | {"differing": differing})


class _Machine:
    """Starts that share a store and keys, and nothing else."""

    def __init__(self, folder: Path, url: str, layers: int, runs: dict[str, Any]) -> None:
        self.folder = folder
        self.ours = {"INDUCTORY_URL": url, "INDUCTORY_CONFIG_DIR": str(folder / "keys")}
        self.layers = layers
        self.runs = runs

    def environ(self, name: str, **more: str) -> dict[str, str]:
        return clean_environ(self.folder / name, **self.ours, **more)

    def start(self, name: str, how: str, device: str, **more: str) -> None:
        arguments = [how, "--mode", MODE, "--device", device, "--layers", str(self.layers)]
        result = self.runs[name] = child("_gpu_start", arguments, self.environ(name, **more))
        progress(f"{name}: {result['outcomes']} {result['reasons']} {result['steps_s']}")

    def blobs(self, keys: list[str]) -> dict[str, str]:
        """Return the digests of the artifacts' blobs, by key, media type and name."""
        settings = Settings.load({}, url=self.ours["INDUCTORY_URL"], cache_dir=self.folder / "look")
        with Client(settings) as client:
            artifacts = [client.reach_store().get_artifact(key) for key in keys]
        return {
            f"{artifact.key[:12]} {found.media_type} {found.name}": found.digest
            for artifact in artifacts
            for found in artifact.subject.descriptors
        }


if __name__ == "__main__":
    main()
