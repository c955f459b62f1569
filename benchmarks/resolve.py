"""Resolving a hot model, against what FastAPI answers at most.

    make bench-resolve  -->  build/bench/resolve.json

32 connections ask for the three pieces of one model again and again, small blobs included. The ceiling is a
ready-made answer of the same bytes to the same question, by the same server in the same run. Rounds
alternate; the load (wrk) runs on the same machine.
"""

from __future__ import annotations

import json
import random
import re
import shutil
import subprocess
import tempfile
from pathlib import Path
from typing import Any
from urllib.request import Request, urlopen

import _servers
from _harness import Goal, finish, median, progress
from inductory_client.client import Client
from inductory_client.contract.descriptor import NATIVE, PAYLOAD
from inductory_client.contract.digest import digest_of
from inductory_client.contract.provenance import Provenance
from inductory_client.contract.target import Target
from inductory_client.contract.wire import ArtifactWanted, Resolve, encode
from inductory_client.publication import Draft, DraftBlob, Publication
from inductory_client.settings import Settings

ROUNDS = 5
SECONDS = 5
CONNECTIONS = 32
PIECES = 3
PAYLOAD_BYTES = 12_000
"""About what a piece of a 12-layer model has, packed; random bytes don't shrink."""
GOALS: dict[str, Goal] = {"resolve_over_ceiling": ("at_least", 0.6), "p99_ms": ("below", 10)}
MEASURED = {
    "resolve_over_ceiling": "requests a second of the store over FastAPI's; medians",
    "p99_ms": "of the store, median of the rounds",
    "answer_bytes": "of one answer: three artifacts with their blobs",
}
_SCRIPT = """
wrk.method = "POST"
wrk.headers["Content-Type"] = "application/json"
local file = io.open("{body}", "rb")
wrk.body = file:read("*a")
file:close()
"""


def main() -> None:
    if shutil.which("wrk") is None:
        raise SystemExit("wrk is missing: scripts/setup.sh servers wrk")
    with tempfile.TemporaryDirectory(prefix="inductory-bench-") as name:
        folder = Path(name)
        with _servers.store(folder / "store") as url:
            body = _published(folder, url)
            (folder / "question.json").write_bytes(body)
            answer = _asked(url, body)
            (folder / "answer.json").write_bytes(answer)
            script = folder / "ask.lua"
            script.write_text(_SCRIPT.format(body=folder / "question.json"))
            ceiling = [str(Path(__file__).parent / "_ceiling.py"), str(folder / "answer.json")]
            with _servers.announced(ceiling, folder / "ceiling.log") as ceiling_url:
                runs = [_round(number, {"store": url, "ceiling": ceiling_url}, script)
                        for number in range(1, ROUNDS + 1)]  # fmt: skip
    figures = _figures(runs) | {"answer_bytes": len(answer)}
    finish("resolve", figures, GOALS, measured=MEASURED, runs=runs)


def _published(folder: Path, url: str) -> bytes:
    """Publish a model's pieces, and return the question for them."""
    target = Target({"torch.version": "2.13.0", "cpu.isa": "avx2"})
    pieces = [_piece(number, target) for number in range(PIECES)]
    settings = Settings.load({}, url=url, cache_dir=folder / "cache", config_dir=folder / "config")
    with Client(settings) as client:
        client.publisher.publish_now(Publication(artifacts=tuple(pieces)))
    wanted = tuple(ArtifactWanted(key=each.subject.key, graph_digest=each.graph_digest) for each in pieces)
    return encode(Resolve(artifacts=wanted, target=target))


def _piece(number: int, target: Target) -> Draft:
    data = random.Random(number)
    return Draft(
        blobs=(
            DraftBlob(PAYLOAD, "", data.randbytes(PAYLOAD_BYTES)),
            DraftBlob(NATIVE, "kernel.so", data.randbytes(PAYLOAD_BYTES // 2)),
        ),
        shape=(1, 16384),
        graph_digest=digest_of(f"piece {number}".encode()),
        target=target,
        provenance=Provenance(builder="benchmark", created_at="2026-01-01T00:00:00Z", compile_seconds=1.5),
    )


def _asked(url: str, body: bytes) -> bytes:
    """Return the answer, which must have all that was asked for."""
    request = Request(f"{url}/v1/artifacts:resolve", body, {"Content-Type": "application/json"})
    with urlopen(request) as response:
        answer: bytes = response.read()
    found = json.loads(answer)
    assert len(found["hits"]) == PIECES
    assert len(found["blobs"]) == 2 * PIECES
    return answer


def _round(number: int, urls: dict[str, str], script: Path) -> dict[str, Any]:
    found = {name: _load(url, script) for name, url in urls.items()}
    rates = ", ".join(f"{name} {each['per_s']:,.0f}/s" for name, each in found.items())
    progress(f"round {number} of {ROUNDS}: {rates}")
    return found


def _load(url: str, script: Path) -> dict[str, float]:
    """Ask as fast as it goes, and return requests a second and the 99th percentile of their time."""
    command = ["wrk", "-t1", f"-c{CONNECTIONS}", f"-d{SECONDS}s", "--latency", "-s", str(script)]
    done = subprocess.run(
        [*command, f"{url}/v1/artifacts:resolve?namespace=default"],
        capture_output=True,
        text=True,
        check=True,
    )
    if "Non-2xx" in done.stdout or "Socket errors" in done.stdout:
        raise RuntimeError(done.stdout)
    rate, percentile = (
        re.search(r"Requests/sec:\s+([\d.]+)", done.stdout),
        re.search(r"99%\s+([\d.]+)(us|ms|s)", done.stdout),
    )
    assert rate is not None
    assert percentile is not None
    scale: float = {"us": 1e-3, "ms": 1.0, "s": 1e3}[percentile[2]]
    return {"per_s": float(rate[1]), "p99_ms": float(percentile[1]) * scale}


def _figures(runs: list[dict[str, Any]]) -> dict[str, Any]:
    store, ceiling = median(runs, "store", "per_s"), median(runs, "ceiling", "per_s")
    return {
        "resolve_over_ceiling": round(store / ceiling, 4),
        "resolve_per_s": store,
        "ceiling_per_s": ceiling,
        "p99_ms": median(runs, "store", "p99_ms"),
        "ceiling_p99_ms": median(runs, "ceiling", "p99_ms"),
        "connections": CONNECTIONS,
        "rounds": len(runs),
    }


if __name__ == "__main__":
    main()
