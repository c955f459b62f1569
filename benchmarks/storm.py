"""A thousand nodes start at once: a real build's bundle from a store, against the same bytes from nginx.

    make bench-storm  -->  build/bench/storm.json

Simulated nodes, one process on the same machine: each opens a connection, asks for the bundle of a real vLLM
cache folder and reads all of it; one in ten checks every byte. The store has one process on SQLite and a
folder; nginx serves the same bytes as a file to the same clients in the same run. Rounds alternate.

Then a cold start: simulated nodes lack the same keys, ask for leases, simulate the compile of what they were
granted (its bytes are made up), publish it under the lease and wait for the rest. What the store published of
each key is counted, and what it refused.
"""

from __future__ import annotations

import argparse
import os
import sys
import tarfile
import tempfile
from collections.abc import Mapping
from pathlib import Path
from typing import Any
from urllib.request import urlopen

import _servers
from _harness import Goal, clean_environ, finish, json_of, median, progress

ROUNDS = 5
NODES = 1000
COLD = Path(__file__).parent / "_cold_nodes.py"
DATA = "vllm-0.26-qwen3-1.7b-build-a.tar.xz"
COLD_NODES = 64
COLD_KEYS = 40
GOALS: dict[str, Goal] = {
    "storm_over_nginx": ("at_least", 0.5),
    "cold_compiles_per_key": ("equals", 1.0),
    "cold_nodes_served": ("equals", COLD_NODES),
}
MEASURED = {
    "storm_over_nginx": "starts a second from the store over those from nginx; medians",
    "p50_s": "of one start, all of them begun at once",
    "client_cpu_s": "of all nodes, a round",
    "store_cpu_s": "of the store's process, a round",
    "nginx_cpu_s": "of nginx's workers, a round",
    "cold_compiles_per_key": "simulated compiles that were published, over keys",
    "cold_nodes_served": "simulated nodes that had every artifact in the end",
    "cold_p99_s": "of one cold start, compiles simulated",
    "bundle_bytes": "what each node receives",
}


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("--data", type=Path, help=f"the folder with {DATA}")
    parser.add_argument("--nodes", type=int, default=NODES)
    parser.add_argument("--small", action="store_true", help="to try it out: one round")
    chosen = parser.parse_args()
    rounds = 1 if chosen.small else ROUNDS
    data = chosen.data or Path(__file__).resolve().parents[2] / "shared" / "data"
    with tempfile.TemporaryDirectory(prefix="inductory-bench-") as name:
        folder = Path(name)
        with tarfile.open(data / DATA) as archive:
            archive.extractall(folder / "tree", filter="data")
        with _servers.store(folder / "store") as url:
            bundle_url = f"{url}/v1/builds/{_pushed(folder, url)}/bundle?namespace=default"
            with urlopen(bundle_url) as response:
                bundle = response.read()
            files = folder / "files"
            files.mkdir()
            (files / "bundle").write_bytes(bundle)
            with _servers.nginx(folder / "nginx", files) as nginx_url:
                urls = {"store": (bundle_url, url), "nginx": (f"{nginx_url}/bundle", nginx_url)}
                runs = [_round(number, urls, chosen.nodes) for number in range(1, rounds + 1)]
            progress("cold")
            cold = json_of([sys.executable, str(COLD), url, str(COLD_NODES), str(COLD_KEYS)], os.environ)
    figures = _figures(runs, len(bundle), chosen.nodes) | {
        f"cold_{name}": each for name, each in cold.items()
    }
    finish("storm", figures, GOALS, measured=MEASURED, runs=runs)


def _pushed(folder: Path, url: str) -> str:
    """Push the folder of a vLLM cache as its users do, and return the key of its build."""
    (tree,) = (folder / "tree").rglob("torch_compile_cache")
    environ = clean_environ(folder / "home", INDUCTORY_URL=url)
    command = [sys.executable, "-m", "inductory_client.cli.main", "push", str(tree), "--json"]
    pushed = json_of(command, environ)
    key: str = pushed["build"]
    return key


def _round(number: int, urls: Mapping[str, tuple[str, _servers.Server]], nodes: int) -> dict[str, Any]:
    clients = [sys.executable, str(Path(__file__).parent / "_storm_clients.py")]
    found = {}
    for name, (url, server) in urls.items():
        before = server.cpu_s
        found[name] = json_of([*clients, url, str(nodes)], os.environ)
        found[name]["server_cpu_s"] = server.cpu_s - before
    rates = ", ".join(f"{name} {each['starts_per_s']:.0f}/s" for name, each in found.items())
    progress(f"round {number}: {rates}")
    return found


def _figures(runs: list[dict[str, Any]], size: int, nodes: int) -> dict[str, Any]:
    store, nginx = median(runs, "store", "starts_per_s"), median(runs, "nginx", "starts_per_s")
    return {
        "storm_over_nginx": round(store / nginx, 4),
        "starts_per_s": store,
        "nginx_starts_per_s": nginx,
        "p50_s": median(runs, "store", "p50_s"),
        "p99_s": median(runs, "store", "p99_s"),
        "nginx_p99_s": median(runs, "nginx", "p99_s"),
        "client_cpu_s": median(runs, "store", "cpu_s"),
        "store_cpu_s": median(runs, "store", "server_cpu_s"),
        "nginx_cpu_s": median(runs, "nginx", "server_cpu_s"),
        "nginx_client_cpu_s": median(runs, "nginx", "cpu_s"),
        "bundle_bytes": size,
        "nodes": nodes,
        "rounds": len(runs),
    }


if __name__ == "__main__":
    main()
