"""What a start pays for Triton kernels that another machine compiled.

    python benchmarks/triton_cache.py [ROUNDS]  -->  build/bench/triton_cache.json

Twelve kernels for an H100 or H200; none is run, so no GPU is needed. Every start is a fresh process. It
compiles them; has them in Triton's folder; has an empty folder and gets them from a store on loopback,
verified, one by one or all at once; or by Triton's own remote cache from a Redis on loopback. The kinds take
turns within a round.
"""

from __future__ import annotations

import json
import sys
import tempfile
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import _servers
from _harness import child, clean_environ, finish, median, progress

ROUNDS = 5
KINDS = ("cold", "folder", "store", "prefetch", "redis")
GOALS = {"store_compiled": ("equals", 0), "store_bytes_of_redis": ("below", 1.0)}
MEASURED = {
    "cold_s": "median seconds to have all kernels, compiled here",
    "folder_s": "from Triton's own folder, by the stock manager",
    "store_s": "from the store, verified, one round trip a kernel",
    "prefetch_s": "from the store, verified, in one round trip",
    "redis_s": "from Redis, by Triton's RemoteCacheManager, unverified",
    "store_compiled": "kernels that starts with the store compiled, over all rounds",
    "store_bytes": "bytes that a start received from the store",
    "prefetch_bytes": "the same where it asked once",
    "redis_bytes": "bytes that a start received from Redis",
    "store_bytes_of_redis": "store_bytes as a share of redis_bytes",
}


def main() -> None:
    rounds = int(sys.argv[1]) if len(sys.argv) > 1 else ROUNDS
    with tempfile.TemporaryDirectory(prefix="inductory-bench-") as name:
        folder = Path(name)
        with _servers.store(folder / "store") as url, _servers.redis(folder / "redis") as redis:
            runs = _runs(folder, url, redis, rounds)
    finish("triton_cache", _figures(runs), GOALS, measured=MEASURED, runs=runs)


def _runs(folder: Path, url: str, redis: str, rounds: int) -> list[dict[str, Any]]:
    ours = {
        "TRITON_CACHE_MANAGER": "inductory_client.integrations.triton_cache:InductoryCacheManager",
        "INDUCTORY_URL": url,
        "INDUCTORY_CONFIG_DIR": str(folder / "keys"),
    }
    theirs = {
        "TRITON_CACHE_MANAGER": "triton.runtime.cache:RemoteCacheManager",
        "TRITON_REMOTE_CACHE_BACKEND": "triton.runtime.cache:RedisRemoteCacheBackend",
        "TRITON_REDIS_HOST": "127.0.0.1",
        "TRITON_REDIS_PORT": str(urlsplit(redis).port),
    }
    settings: dict[str, dict[str, str]] = {"cold": {}, "folder": {}, "store": ours, "prefetch": ours}
    settings["redis"] = theirs

    def start(name: str, kind: str, *arguments: str) -> dict[str, Any]:
        found = child("_triton_start", arguments, clean_environ(folder / name, **settings[kind]))
        progress(f"{name}: {found['seconds']:.3f} s, {found['compiled']} compiled, {found['bytes']:,} bytes")
        return found

    used = json.dumps(start("builder", "store")["used"])
    start("redis-builder", "redis")
    start("folder", "folder")
    runs = []
    for number in range(1, rounds + 1):
        run = {}
        for kind in KINDS:
            name = kind if kind == "folder" else f"{kind}{number}"
            run[kind] = start(name, kind, *(("prefetch", used) if kind == "prefetch" else ()))
            run[kind].pop("used", None)
        runs.append(run)
    return runs


def _figures(runs: list[dict[str, Any]]) -> dict[str, Any]:
    figures: dict[str, Any] = {f"{kind}_s": median(runs, kind, "seconds") for kind in KINDS}
    figures["store_compiled"] = sum(run[kind]["compiled"] for run in runs for kind in ("store", "prefetch"))
    for kind in ("store", "prefetch", "redis"):
        figures[f"{kind}_bytes"] = int(median(runs, kind, "bytes"))
    figures["store_bytes_of_redis"] = round(figures["store_bytes"] / figures["redis_bytes"], 3)
    return figures


if __name__ == "__main__":
    main()
