"""Resolving on PostgreSQL with nothing in memory, against what a raw driver reads behind the same framework.

    make bench-resolve_postgresql  -->  build/bench/resolve_postgresql.json

32 connections ask for three of 600 artifacts, each time for others: no answer that was kept is asked for
again. The raw driver reads the same rows in one statement, and returns ready-made bytes, the same ones. Small
blobs that travel along come from the store's folder, not from SQL: the question is asked without them, and of
the store once more with them, which has no goal. Rounds alternate; the load (wrk) and PostgreSQL run on the
same machine.
"""

from __future__ import annotations

import argparse
import random
import tempfile
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any
from urllib.request import Request, urlopen

import _servers
import _wrk
from _harness import Goal, finish, median, progress
from _postgresql import postgresql
from inductory_client.client import Client
from inductory_client.contract.artifact import Artifact
from inductory_client.contract.wire import INLINE_BYTES_MAX, ArtifactWanted, Resolve, Resolved, decode, encode
from inductory_client.publication import Publication
from inductory_client.settings import Settings
from resolve import PIECES, TARGET, piece

ROUNDS = 5
SECONDS = 5
CONNECTIONS = 32
ARTIFACTS = 600
QUESTIONS = 40_000
ADDRESS = "/v1/artifacts:resolve?namespace=default"
GOALS: dict[str, Goal] = {"resolve_over_raw": ("at_least", 0.5)}
MEASURED = {
    "resolve_over_raw": "requests a second of the store over the raw driver's; medians",
    "p99_ms": "of the store, median of the rounds",
    "with_blobs_per_s": "of the store, with the small blobs of three artifacts",
    "answer_bytes": "of one answer: three artifacts",
}


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("--small", action="store_true", help="to try it out: two short rounds")
    small = parser.parse_args().small
    rounds, seconds = (2, 2) if small else (ROUNDS, SECONDS)
    artifacts, questions = (100, 20_000) if small else (ARTIFACTS, QUESTIONS)
    _wrk.check()
    with tempfile.TemporaryDirectory(prefix="inductory-bench-") as name, postgresql() as server:
        folder, database = Path(name), server.database("resolve")
        with _servers.store(folder / "store", INDUCTORY_STORE_DATABASE_URL=database) as url:
            known = published(folder, url, artifacts)
            server.analyse("resolve")
            progress(f"{artifacts} artifacts are published")
            chosen = [random.Random(at).sample(known, PIECES) for at in range(questions)]
            bodies = [_question(each) for each in chosen]
            answers = [encode(Resolved(hits=tuple(each), misses=(), blobs={})) for each in chosen]
            if _asked(url, bodies[-1]) != answers[-1]:
                raise RuntimeError("the raw driver's answers wouldn't be the store's")
            lines = (b" ".join(pair) for pair in zip(bodies, answers, strict=True))
            (folder / "answers").write_bytes(b"\n".join(lines))
            raw = [str(Path(__file__).parent / "_raw_read.py"), database, str(folder / "answers")]
            with _servers.announced(raw, folder / "raw.log") as raw_url:
                if _asked(raw_url, bodies[-1]) != answers[-1]:
                    raise RuntimeError("the raw driver's answers aren't the store's")
                longer = [_question(each, INLINE_BYTES_MAX) for each in chosen]
                runs = []
                for number in range(rounds):
                    start = number * questions // rounds
                    plain = _wrk.asking_each(folder, "plain", bodies, ADDRESS, start)
                    blobs = _wrk.asking_each(folder, "blobs", longer, ADDRESS, start)
                    asked = {"store": (url, plain), "raw": (raw_url, plain), "with_blobs": (url, blobs)}
                    runs.append(_round(number + 1, asked, seconds))
    finish("resolve_postgresql", _figures(runs, len(answers[-1])), GOALS, measured=MEASURED, runs=runs)


def published(folder: Path, url: str, artifacts: int) -> list[Artifact]:
    settings = Settings.load({}, url=url, cache_dir=folder / "cache", config_dir=folder / "config")
    found: list[Artifact] = []
    with Client(settings) as client:
        for first in range(0, artifacts, 100):
            drafts = tuple(piece(number) for number in range(first, first + 100))
            client.publisher.publish_now(Publication(artifacts=drafts))
            wanted = tuple(ArtifactWanted(key=each.subject.key) for each in drafts)
            answer = _asked(url, encode(Resolve(artifacts=wanted, inline_bytes_max=0)))
            found += decode(answer, Resolved).hits
    assert len(found) == artifacts
    return found


def _question(artifacts: Sequence[Artifact], inline_bytes_max: int = 0) -> bytes:
    wanted = tuple(ArtifactWanted(key=each.key, graph_digest=each.subject.graph_digest) for each in artifacts)
    return encode(Resolve(artifacts=wanted, target=TARGET, inline_bytes_max=inline_bytes_max))


def _asked(url: str, body: bytes) -> bytes:
    with urlopen(Request(f"{url}{ADDRESS}", body, {"Content-Type": "application/json"})) as response:
        answer: bytes = response.read()
    return answer


def _round(number: int, asked: Mapping[str, tuple[str, Path]], seconds: float) -> dict[str, Any]:
    found = {
        name: _wrk.load(url, script, connections=CONNECTIONS, seconds=seconds)
        for name, (url, script) in asked.items()
    }
    rates = ", ".join(f"{name} {each['per_s']:,.0f}/s" for name, each in found.items())
    progress(f"round {number}: {rates}")
    return found


def _figures(runs: list[dict[str, Any]], size: int) -> dict[str, Any]:
    store, raw = median(runs, "store", "per_s"), median(runs, "raw", "per_s")
    return {
        "resolve_over_raw": round(store / raw, 4),
        "resolve_per_s": store,
        "raw_per_s": raw,
        "p99_ms": median(runs, "store", "p99_ms"),
        "raw_p99_ms": median(runs, "raw", "p99_ms"),
        "with_blobs_per_s": median(runs, "with_blobs", "per_s"),
        "connections": CONNECTIONS,
        "rounds": len(runs),
        "answer_bytes": size,
    }


if __name__ == "__main__":
    main()
