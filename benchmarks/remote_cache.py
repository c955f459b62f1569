"""Stock torch.compile over two remote caches: torch's own Redis, and Inductory over HTTP with verification.

    python benchmarks/remote_cache.py [ROUNDS]  -->  build/bench/remote_cache.json

Each round starts the same model five times in fresh processes, all with `backend="inductor"`: cold and
warm by Redis, cold and warm by a store, each pair against a server that was empty before, and again warm by
a store on a machine that has the C++ kernels already, which neither cache carries. The local caches of each
other start are empty. Which cache is first alternates. All import torch, Dynamo and compile_fx first.
"""

from __future__ import annotations

import shutil
import sys
import tempfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import _servers
from _counted import Counted, counted
from _harness import child, clean_environ, finish, median, progress

ROUNDS = 3
LAYERS = 4
"""Of the model: one graph, for stock Inductor, whose kernels are those of one layer and of the ends."""
GOALS = {"inductory_over_redis": ("at_most", 1.1), "bytes_over_redis": ("below", 1.0)}
MEASURED = {
    "inductory_over_redis": "inductory_warm_s / redis_warm_s",
    "bytes_over_redis": "inductory_bytes / redis_bytes",
    "redis_warm_over_cold": "redis_warm_s / redis_cold_s",
    "inductory_warm_over_cold": "inductory_warm_s / inductory_cold_s",
    "redis_cold_s": "seconds in the backend, a compile and its puts; medians, as all that follow",
    "redis_warm_s": "seconds in the backend, all graphs from the cache; the C++ kernels are compiled again",
    "inductory_kernels_here_s": "as inductory_warm_s, with the shared libraries of the C++ kernels there",
    "redis_bytes": "all that came from the server in a warm start, protocol included",
    "inductory_sent_bytes": "all that was sent to the server in a cold start, protocol included",
}


def main() -> None:
    rounds = int(sys.argv[1]) if len(sys.argv) > 1 else ROUNDS
    runs = []
    with tempfile.TemporaryDirectory(prefix="inductory-bench-") as folder:
        for number in range(1, rounds + 1):
            place, label = Path(folder, str(number)), f"round {number} of {rounds}"
            sides: list[Callable[[Path, str], dict[str, Any]]] = [_redis, _inductory]
            run: dict[str, Any] = {}
            for side in sides if number % 2 else reversed(sides):
                run |= side(place, label)
            _check(run)
            runs.append(run)
    finish("remote_cache", _figures(runs), GOALS, measured=MEASURED, runs=runs)


def _redis(folder: Path, label: str) -> dict[str, Any]:
    with _servers.redis(folder / "redis") as url, counted(url) as way:
        environ = {
            "TORCHINDUCTOR_REDIS_URL": way.address,
            "TORCHINDUCTOR_FX_GRAPH_REMOTE_CACHE": "1",
            "TORCHINDUCTOR_AUTOGRAD_REMOTE_CACHE": "1",
        }
        return {
            f"redis_{name}": _start(folder / f"redis-{name}", environ, way, f"{label}: Redis, {name}")
            for name in ("cold", "warm")
        }


def _inductory(folder: Path, label: str) -> dict[str, Any]:
    with _servers.store(folder / "store") as url, counted(url) as way:
        # A fleet's nodes trust the publisher's key: the machines of this round share a folder of keys.
        environ = {
            "INDUCTORY_URL": way.address,
            "INDUCTORY_CONFIG_DIR": str(folder / "keys"),
            "INDUCTORY_TORCH_CACHE": "1",
        }
        found = {
            f"inductory_{name}": _start(folder / f"ours-{name}", environ, way, f"{label}: Inductory, {name}")
            for name in ("cold", "warm")
        }
        _keep_kernels_alone(folder / "ours-warm", folder / "ours-kernels")
        found["inductory_kernels_here"] = _start(
            folder / "ours-kernels", environ, way, f"{label}: Inductory, warm, kernels here"
        )
        return found


def _keep_kernels_alone(source: Path, home: Path) -> None:
    """Have a machine begin with the compiled kernels of another, and with no entry of any cache."""
    shutil.copytree(
        source / "inductor", home / "inductor", ignore=shutil.ignore_patterns("fxgraph", "aotautograd")
    )


def _start(home: Path, environ: dict[str, str], way: Counted, label: str) -> dict[str, Any]:
    came, sent = way.to_clients, way.from_clients
    result = child("_start", ["inductor", str(LAYERS)], clean_environ(home, **environ))
    result |= {"bytes": way.to_clients - came, "sent_bytes": way.from_clients - sent}
    progress(f"{label}: {result['backend_s']:.2f} s in the backend, {result['bytes']} bytes came")
    return result


def _check(run: dict[str, Any]) -> None:
    """Raise where a start wasn't what it is called: such figures would mean nothing."""
    for name, start in run.items():
        cold, hits = name.endswith("cold"), start["autograd_cache_hits"] + start["fx_graph_cache_hits"]
        if cold == bool(hits):
            raise RuntimeError(f"{name} had {hits} hits")
    if len({start["logits_sha256"] for start in run.values()}) != 1:
        raise RuntimeError("outputs differ")


def _figures(runs: list[dict[str, Any]]) -> dict[str, Any]:
    seconds = {f"{kind}_s": median(runs, kind, "backend_s") for kind in runs[0]}
    redis_bytes, our_bytes = (median(runs, f"{side}_warm", "bytes") for side in ("redis", "inductory"))
    figures = {
        "inductory_over_redis": seconds["inductory_warm_s"] / seconds["redis_warm_s"],
        "bytes_over_redis": our_bytes / redis_bytes,
        "redis_warm_over_cold": seconds["redis_warm_s"] / seconds["redis_cold_s"],
        "inductory_warm_over_cold": seconds["inductory_warm_s"] / seconds["inductory_cold_s"],
        **seconds,
    }
    sizes = {
        "redis_bytes": redis_bytes,
        "inductory_bytes": our_bytes,
        "redis_sent_bytes": median(runs, "redis_cold", "sent_bytes"),
        "inductory_sent_bytes": median(runs, "inductory_cold", "sent_bytes"),
    }
    rounded = {name: round(value, 4) for name, value in figures.items()}
    return rounded | {name: int(size) for name, size in sizes.items()} | {"rounds": len(runs)}


if __name__ == "__main__":
    main()
