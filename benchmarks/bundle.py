"""Bytes: a bundle against a tar.zst of the same vLLM folder, and blobs of 4 MB against nginx's files.

    make bench-bundle  -->  build/bench/bundle.json

A real vLLM cache folder is pushed as its users push it. The bundle is what a node then asks for, packed zstd
frames in one stream; the tar.zst is what somebody would put into a bucket instead, with zstd's level 3 as
here. Both are timed over HTTP from the same store and nginx, read to the end, unpacked, every byte hashed.

The blobs are random bytes, so that packed or not they have the same size. They are asked for as clients ask,
as zstd, by wrk, and nginx gives the same frames as files. A hot blob comes from the store's memory; cold ones
are so many that each is read and verified anew, and have no goal. Rounds alternate.
"""

from __future__ import annotations

import argparse
import hashlib
import io
import sys
import tarfile
import tempfile
import time
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any
from urllib.request import urlopen

import _servers
import _wrk
from _harness import Goal, clean_environ, finish, json_of, median, progress
from _talk import published_blobs
from inductory_client.contract.bundle import read_frames
from inductory_store.store import FRAMES_BYTES_MAX

if sys.version_info >= (3, 14):
    from compression import zstd
else:
    from backports import zstd

ROUNDS = 5
SECONDS = 4
CONNECTIONS = 8
DATA = "vllm-0.26-qwen3-1.7b-build-a.tar.xz"
HOT, COLD = 16, 40
BLOB_BYTES = 4 << 20
LEVEL = 3
BUNDLE_BYTES_MAX = 1 << 30
GOALS: dict[str, Goal] = {"blobs_over_nginx": ("at_least", 0.5)}
MEASURED = {
    "bundle_over_tar_bytes": "bytes that travel",
    "bundle_s": "asked for, read, unpacked and hashed, one node; medians",
    "tar_s": "the same of the tar.zst, from nginx",
    "blobs_over_nginx": "hot blobs of 4 MB a second through the API, over their frames from nginx; medians",
    "cold_blobs_over_nginx": "the same of blobs that are read and verified for each request",
}


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("--data", type=Path, help=f"the folder with {DATA}")
    parser.add_argument("--small", action="store_true", help="to try it out: two short rounds")
    chosen = parser.parse_args()
    data = chosen.data or Path(__file__).resolve().parents[2] / "shared" / "data"
    rounds, seconds = (2, 2) if chosen.small else (ROUNDS, SECONDS)
    _wrk.check()
    with tempfile.TemporaryDirectory(prefix="inductory-bench-") as name:
        folder = Path(name)
        files = folder / "files"
        files.mkdir()
        with tarfile.open(data / DATA) as archive:
            archive.extractall(folder / "tree", filter="data")
        (tree,) = (folder / "tree").rglob("torch_compile_cache")
        (files / "tar.zst").write_bytes(_tar(tree))
        with (
            _servers.store(folder / "store") as url,
            _servers.nginx(folder / "nginx", files) as nginx_url,
        ):
            starts = {
                "bundle": (f"{url}/v1/builds/{_pushed(folder, tree, url)}/bundle", _unbundle),
                "tar": (f"{nginx_url}/tar.zst", _untar),
            }
            digests = published_blobs(url, files, COLD, BLOB_BYTES)
            if COLD * BLOB_BYTES < FRAMES_BYTES_MAX * 3 // 2:
                raise RuntimeError("cold blobs would be kept in memory")
            hot, cold = digests[:HOT], digests
            asked = {
                "store": (url, _wrk.getting_each(folder, "store", [f"/v1/blobs/{each}" for each in hot])),
                "nginx": (nginx_url, _wrk.getting_each(folder, "nginx", [f"/{each}" for each in hot])),
                "cold": (url, _wrk.getting_each(folder, "cold", [f"/v1/blobs/{each}" for each in cold])),
            }
            runs = [_round(number, starts, asked, seconds) for number in range(1, rounds + 1)]
    finish("bundle", _figures(runs), GOALS, measured=MEASURED, runs=runs)


def _tar(tree: Path) -> bytes:
    tar = io.BytesIO()
    with tarfile.open(fileobj=tar, mode="w") as archive:
        archive.add(tree, tree.name)
    return zstd.compress(tar.getvalue(), LEVEL)


def _pushed(folder: Path, tree: Path, url: str) -> str:
    environ = clean_environ(folder / "home", INDUCTORY_URL=url)
    pushed = json_of(
        [sys.executable, "-m", "inductory_client.cli.main", "push", str(tree), "--json"], environ
    )
    key: str = pushed["build"]
    return key


def _unbundle(body: bytes) -> int:
    """Unpack and check every blob; return how many bytes came out."""
    return sum(len(data) for _, data, _ in read_frames(io.BytesIO(body), BUNDLE_BYTES_MAX))


def _untar(body: bytes) -> int:
    """Unpack and hash every file; return how many bytes came out."""
    size = 0
    with tarfile.open(fileobj=io.BytesIO(zstd.decompress(body))) as archive:
        for member in archive:
            if file := archive.extractfile(member):
                content = file.read()
                hashlib.sha256(content).digest()
                size += len(content)
    return size


def _round(
    number: int,
    starts: Mapping[str, tuple[str, Callable[[bytes], int]]],
    asked: Mapping[str, tuple[_servers.Server, Path]],
    seconds: float,
) -> dict[str, Any]:
    found: dict[str, Any] = {}
    for name, (url, unpacked) in starts.items():
        began = time.perf_counter()
        with urlopen(url) as response:
            body = response.read()
        moved_s = time.perf_counter() - began
        size = unpacked(body)
        took_s = time.perf_counter() - began
        found[name] = {"bytes": len(body), "unpacked_bytes": size, "moved_s": moved_s, "s": took_s}
    for name, (server, script) in asked.items():
        before = server.cpu_s
        found[name] = _wrk.load(server, script, connections=CONNECTIONS, seconds=seconds)
        found[name]["cpu_s"] = server.cpu_s - before
    rates = ", ".join(f"{name} {found[name]['per_s']:,.0f}/s" for name in asked)
    progress(f"round {number}: {rates}")
    return found


def _figures(runs: list[dict[str, Any]]) -> dict[str, Any]:
    store, nginx = median(runs, "store", "per_s"), median(runs, "nginx", "per_s")
    bundle, tar = runs[0]["bundle"], runs[0]["tar"]
    return {
        "bundle_over_tar_bytes": round(bundle["bytes"] / tar["bytes"], 4),
        "bundle_bytes": bundle["bytes"],
        "tar_bytes": tar["bytes"],
        "bundle_unpacked_bytes": bundle["unpacked_bytes"],
        "tar_unpacked_bytes": tar["unpacked_bytes"],
        "bundle_s": median(runs, "bundle", "s"),
        "tar_s": median(runs, "tar", "s"),
        "blobs_over_nginx": round(store / nginx, 4),
        "cold_blobs_over_nginx": round(median(runs, "cold", "per_s") / nginx, 4),
        "blobs_per_s": store,
        "nginx_files_per_s": nginx,
        "blobs_p99_ms": median(runs, "store", "p99_ms"),
        "connections": CONNECTIONS,
        "rounds": len(runs),
    }


if __name__ == "__main__":
    main()
