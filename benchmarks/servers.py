"""Servers: what the store's hottest answers cost under uvicorn and under granian, one worker each.

    make bench-servers  -->  build/bench/servers.json

The same store, asked by wrk for one model's pieces again and again, and for hot blobs of 4 MB as zstd. Files
of the same bytes are served besides by a bare framework under both servers, which may send them as they like,
and by nginx. Rounds alternate; the load runs on the same machine.
"""

from __future__ import annotations

import argparse
import tempfile
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import _servers
import _wrk
from _harness import finish, median, progress
from _talk import published_blobs
from resolve import published

ROUNDS = 5
SECONDS = 5
RESOLVING, READING = 32, 8
"""Connections of those that resolve, and of those that read blobs or files."""
BLOBS = 16
BLOB_BYTES = 4 << 20
HERE = Path(__file__).parent
MEASURED = {
    "granian_over_uvicorn_resolve": "hot resolves a second",
    "granian_over_uvicorn_blobs": "hot blobs of 4 MB a second, from the store's memory",
    "granian_over_uvicorn_files": "the same bytes as files, by a bare framework",
    "uvicorn_files_over_nginx": "the same against nginx",
    "granian_files_over_nginx": "the same against nginx",
}


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("--small", action="store_true", help="to try it out: one short round")
    chosen = parser.parse_args()
    rounds, seconds = (1, 2) if chosen.small else (ROUNDS, SECONDS)
    _wrk.check()
    with tempfile.TemporaryDirectory(prefix="inductory-bench-") as name, ExitStack() as stack:
        folder = Path(name)
        files = folder / "files"
        files.mkdir()
        under = {
            "uvicorn": stack.enter_context(_servers.store(folder / "uvicorn")),
            "granian": _announced(stack, folder, "_granian.py", "store", str(folder / "granian")),
        }
        asked: dict[str, tuple[str, Path, int]] = {}
        for server, url in under.items():
            place = folder / f"{server}-asked"
            place.mkdir()
            question = _wrk.asking(place, published(place, url))
            digests = published_blobs(url, files, BLOBS, BLOB_BYTES)
            blobs = _wrk.getting_each(place, "blobs", [f"/v1/blobs/{each}" for each in digests])
            asked[f"{server}_resolve"] = f"{url}/v1/artifacts:resolve", question, RESOLVING
            asked[f"{server}_blobs"] = url, blobs, READING
        names = _wrk.getting_each(folder, "files", [f"/{each.name}" for each in sorted(files.iterdir())])
        served = {
            "uvicorn_files": _announced(stack, folder, "_files.py", str(files)),
            "granian_files": _announced(stack, folder, "_granian.py", "files", str(files)),
            "nginx_files": stack.enter_context(_servers.nginx(folder / "nginx", files)),
        }
        asked |= {server: (url, names, READING) for server, url in served.items()}
        runs = [_round(number, asked, seconds) for number in range(1, rounds + 1)]
    finish("servers", _figures(runs), {}, measured=MEASURED, runs=runs)


def _announced(stack: ExitStack, folder: Path, program: str, *arguments: str) -> _servers.Server:
    log = folder / f"{program}-{arguments[0].rpartition('/')[2]}.log"
    return stack.enter_context(_servers.announced([str(HERE / program), *arguments], log))


def _round(number: int, asked: dict[str, tuple[str, Path, int]], seconds: float) -> dict[str, Any]:
    found = {
        name: _wrk.load(url, script, connections=connections, seconds=seconds)
        for name, (url, script, connections) in asked.items()
    }
    progress(
        f"round {number}: " + ", ".join(f"{name} {each['per_s']:,.0f}/s" for name, each in found.items())
    )
    return found


def _figures(runs: list[dict[str, Any]]) -> dict[str, Any]:
    rates = {name: median(runs, name, "per_s") for name in runs[0]}
    figures = {
        f"granian_over_uvicorn_{what}": round(rates[f"granian_{what}"] / rates[f"uvicorn_{what}"], 3)
        for what in ("resolve", "blobs", "files")
    }
    for server in ("uvicorn", "granian"):
        figures[f"{server}_files_over_nginx"] = round(rates[f"{server}_files"] / rates["nginx_files"], 3)
        figures[f"{server}_resolve_p99_ms"] = median(runs, f"{server}_resolve", "p99_ms")
    figures |= {f"{name}_per_s": rate for name, rate in rates.items()}
    return figures | {"rounds": len(runs)}


if __name__ == "__main__":
    main()
