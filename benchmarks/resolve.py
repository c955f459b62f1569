"""Resolving a hot model, against what FastAPI answers at most.

    make bench-resolve  -->  build/bench/resolve.json

32 connections ask for the three pieces of one model again and again, small blobs included. The ceiling is a
ready-made answer of the same bytes to the same question, by the same server in the same run. Rounds
alternate; the load (wrk) runs on the same machine.
"""

from __future__ import annotations

import json
import random
import tempfile
from pathlib import Path
from typing import Any
from urllib.request import Request, urlopen

import _servers
import _wrk
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
TARGET = Target({"torch.version": "2.13.0", "cpu.isa": "avx2"})


def main() -> None:
    _wrk.check()
    with tempfile.TemporaryDirectory(prefix="inductory-bench-") as name:
        folder = Path(name)
        with _servers.store(folder / "store") as url:
            body = published(folder, url)
            answer = _asked(url, body)
            (folder / "answer.json").write_bytes(answer)
            script = _wrk.asking(folder, body)
            ceiling = [str(Path(__file__).parent / "_ceiling.py"), str(folder / "answer.json")]
            with _servers.announced(ceiling, folder / "ceiling.log") as ceiling_url:
                runs = [_round(number, {"store": url, "ceiling": ceiling_url}, script)
                        for number in range(1, ROUNDS + 1)]  # fmt: skip
    figures = _figures(runs) | {"answer_bytes": len(answer)}
    finish("resolve", figures, GOALS, measured=MEASURED, runs=runs)


def published(folder: Path, url: str) -> bytes:
    """Publish a model's pieces, and return the question for them."""
    pieces = [piece(number) for number in range(PIECES)]
    settings = Settings.load({}, url=url, cache_dir=folder / "cache", config_dir=folder / "config")
    with Client(settings) as client:
        client.publisher.publish_now(Publication(artifacts=tuple(pieces)))
    wanted = tuple(ArtifactWanted(key=each.subject.key, graph_digest=each.graph_digest) for each in pieces)
    return encode(Resolve(artifacts=wanted, target=TARGET))


def piece(number: int) -> Draft:
    """What a compile of a piece produces: another one for each number."""
    data = random.Random(number)
    return Draft(
        blobs=(
            DraftBlob(PAYLOAD, "", data.randbytes(PAYLOAD_BYTES)),
            DraftBlob(NATIVE, "kernel.so", data.randbytes(PAYLOAD_BYTES // 2)),
        ),
        shape=(1, 16384),
        graph_digest=digest_of(f"piece {number}".encode()),
        target=TARGET,
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
    address = f"{url}/v1/artifacts:resolve?namespace=default"
    return _wrk.load(address, script, connections=CONNECTIONS, seconds=SECONDS)


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
