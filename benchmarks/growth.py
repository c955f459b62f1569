"""What a million artifacts cost: resolve and lookup on PostgreSQL, against ten thousand.

    make bench-growth  -->  build/bench/growth.json

Two databases of one PostgreSQL are filled as publishing would fill them (`_fleet_rows.py`), each with a store
of its own. Each is asked over HTTP for pieces at random, one in ten of which isn't there, and looked through
by what people look by: a digest, a build, a manifest, a model, a model and a submodule, a model and a target,
a target, nothing at all. Every question is another one, so that no answer comes from memory. Rounds
alternate, and the load (wrk) runs on the same machine.
"""

from __future__ import annotations

import argparse
import random
import statistics
import tempfile
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from urllib.request import urlopen

import _fleet_rows as rows
import _servers
import _wrk
import psycopg
from _harness import Goal, finish, median, progress
from _postgresql import Postgresql, postgresql
from inductory_client.contract.wire import ArtifactWanted, Resolve, encode
from inductory_store.blobs.disk import MARKER
from inductory_store.catalog.catalog import Catalog
from inductory_store.catalog.migrate import upgrade

ROUNDS = 5
SECONDS = 10
CONNECTIONS = 4
QUESTIONS = 80_000
SIZES = {"small": 10_000, "large": 1_000_000}
RESOLVE = f"/v1/artifacts:resolve?namespace={rows.NAMESPACE}"
PIECES = 3
GOALS: dict[str, Goal] = {
    "resolve_p99_ratio": ("at_most", 1.5),
    "lookup_p99_ratio": ("at_most", 1.5),
}
MEASURED = {
    "resolve_p99_ratio": "99th percentile at the large size over that at the small one; medians",
    "lookup_p99_ratio": "the same of the REST lookup",
    "index_bytes_per_artifact": "of all indexes, at the large size",
    "table_bytes_per_artifact": "of all tables, with what they keep apart, at the large size",
}


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("--small", action="store_true", help="to try it out: 50,000 artifacts, two rounds")
    small = parser.parse_args().small
    rounds, seconds = (2, 2) if small else (ROUNDS, SECONDS)
    sizes = {"small": 10_000, "large": 50_000} if small else SIZES
    _wrk.check()
    with tempfile.TemporaryDirectory(prefix="inductory-bench-") as name, postgresql() as server:
        folder = Path(name)
        for size, artifacts in sizes.items():
            _filled(server, folder, size, artifacts)
        with (
            _servers.store(folder / "small", INDUCTORY_STORE_DATABASE_URL=server.url_of("small")) as near,
            _servers.store(folder / "large", INDUCTORY_STORE_DATABASE_URL=server.url_of("large")) as far,
        ):
            builds = {size: artifacts // rows.ARTIFACTS_PER_BUILD for size, artifacts in sizes.items()}
            urls = {"small": near, "large": far}
            asked = {size: Asked.of(its_builds) for size, its_builds in builds.items()}
            _round(folder, urls, asked, 0, 1)  # connects, and fills the server's memory
            starts = [at * QUESTIONS // rounds for at in range(rounds)]
            runs = [_round(folder, urls, asked, start, seconds) for start in starts]
            by_kind = {size: _by_kind(url, builds[size]) for size, url in urls.items()}
        sizes_on_disk = {size: _bytes_of(server.url_of(size)) for size in sizes}
    figures = _figures(runs, sizes, sizes_on_disk)
    kept = {"rounds": runs, "lookup_ms": by_kind, "bytes": sizes_on_disk}
    finish("growth", figures, GOALS, measured=MEASURED, runs=kept)


def _filled(server: Postgresql, folder: Path, size: str, artifacts: int) -> None:
    url = server.database(size)
    catalog = Catalog(url)
    upgrade(catalog.engine)
    catalog.close()
    rows.fill(url, artifacts // rows.ARTIFACTS_PER_BUILD)
    # None of the blobs is there, and a store is told to go on without them.
    marker = folder / size / "data" / "cas" / "sha256" / MARKER
    marker.parent.mkdir(parents=True)
    marker.touch()
    progress(f"{artifacts:,} artifacts are there")


def _round(
    folder: Path, urls: Mapping[str, str], asked: Mapping[str, Asked], start: int, seconds: float
) -> dict[str, Any]:
    found: dict[str, Any] = {}
    for kind in ("resolve", "lookup"):
        for size, url in urls.items():
            script = asked[size].script(folder, kind, start)
            found[f"{kind}_{size}"] = _wrk.load(url, script, connections=CONNECTIONS, seconds=seconds)
    told = ", ".join(f"{name} {each['p99_ms']:.1f} ms" for name, each in found.items())
    progress(f"p99: {told}")
    return found


@dataclass(frozen=True)
class Asked:
    """What a catalog of so many builds is asked."""

    resolves: list[bytes]
    lookups: list[str]

    @classmethod
    def of(cls, builds: int) -> Asked:
        chosen, kinds = random.Random(builds), list(_KINDS)
        return cls(
            [_resolving(chosen, builds) for _ in range(QUESTIONS)],
            [_looking(chosen, builds, kinds[at % len(kinds)]) for at in range(QUESTIONS)],
        )

    def script(self, folder: Path, kind: str, start: int) -> Path:
        """Write what makes wrk ask from the question behind `start` on."""
        if kind == "resolve":
            return _wrk.asking_each(folder, kind, self.resolves, RESOLVE, start)
        return _wrk.getting_each(folder, kind, self.lookups, start)


def _resolving(chosen: random.Random, builds: int) -> bytes:
    build, graph, shape = chosen.randrange(builds), chosen.randrange(rows.GRAPHS), chosen.randrange(5)
    wanted = [rows.piece(build, graph, shape, at) for at in range(PIECES)]
    # One in ten isn't there, and what comes nearest to it is told.
    keys = [rows.digest(each.key) if chosen.random() < 0.1 else each.key for each in wanted]
    asked = tuple(
        ArtifactWanted(key=key, graph_digest=each.graph) for key, each in zip(keys, wanted, strict=True)
    )
    # Without blobs: their bytes aren't there.
    return encode(Resolve(artifacts=asked, target=rows.target(wanted[0].target), inline_bytes_max=0))


def _any_piece(chosen: random.Random, build: int) -> rows.Piece:
    return rows.piece(build, chosen.randrange(rows.GRAPHS), chosen.randrange(5), chosen.randrange(4))


_KINDS: dict[str, Callable[[random.Random, int], str]] = {
    "digest": lambda chosen, build: f"digest={_any_piece(chosen, build).payload}",
    "build": lambda _, build: f"build={rows.build_key(build)}",
    "manifest": lambda chosen, build: f"manifest={rows.manifest_id(build, chosen.randrange(rows.GRAPHS))}",
    "model": lambda _, build: f"model={rows.model_of(build)}",
    "model and submodule": lambda chosen, build: (
        f"model={rows.model_of(build)}&submodule_index={chosen.randrange(rows.SUBMODULES)}&shape=1-16384"
    ),
    "model and target": lambda _, build: (
        f"model={rows.model_of(build)}&target={rows.fingerprint(rows.target_of(build))}"
    ),
    "target": lambda chosen, _: f"target={rows.fingerprint(chosen.randrange(rows.TARGETS))}",
    "all": lambda *_: "backend=inductor",
}


def _looking(chosen: random.Random, builds: int, kind: str) -> str:
    query = _KINDS[kind](chosen, chosen.randrange(builds))
    return f"/v1/artifacts?namespace={rows.NAMESPACE}&limit=20&{query}"


def _by_kind(url: str, builds: int) -> dict[str, float]:
    """Return how long each kind of lookup takes, in milliseconds, asked one at a time."""
    chosen, found = random.Random(3), {}
    for kind in _KINDS:
        took = []
        for _ in range(20):
            began = time.perf_counter()
            with urlopen(url + _looking(chosen, builds, kind)) as answer:
                answer.read()
            took.append(time.perf_counter() - began)
        found[kind] = round(statistics.median(took) * 1e3, 2)
    return found


def _bytes_of(url: str) -> dict[str, dict[str, int]]:
    """Return the bytes of each table and of its indexes."""
    query = (
        "SELECT relname, pg_table_size(oid), pg_indexes_size(oid) FROM pg_class "
        "WHERE relnamespace = 'public'::regnamespace AND relkind = 'r' ORDER BY relname"
    )
    with psycopg.connect(url) as connection:
        found = connection.execute(query).fetchall()
    return {table: {"table": size, "indexes": of_indexes} for table, size, of_indexes in found}


def _figures(
    runs: list[dict[str, Any]], sizes: Mapping[str, int], on_disk: Mapping[str, dict[str, dict[str, int]]]
) -> dict[str, Any]:
    figures: dict[str, Any] = {}
    for kind in ("resolve", "lookup"):
        small, large = (median(runs, f"{kind}_{size}", "p99_ms") for size in ("small", "large"))
        figures[f"{kind}_p99_ratio"] = round(large / small, 3)
        figures |= {f"{kind}_small_p99_ms": small, f"{kind}_large_p99_ms": large}
        figures[f"{kind}_large_p50_ms"] = median(runs, f"{kind}_large", "p50_ms")
    tables = on_disk["large"].values()
    figures["index_bytes_per_artifact"] = sum(each["indexes"] for each in tables) // sizes["large"]
    figures["table_bytes_per_artifact"] = sum(each["table"] for each in tables) // sizes["large"]
    return figures | {"artifacts": sizes["large"], "connections": CONNECTIONS, "rounds": len(runs)}


if __name__ == "__main__":
    main()
