"""Whether a store's memory stays flat while a fleet uses it.

    make bench-soak                     -->  build/bench/soak.json
    make bench-soak ARGS=--postgresql   -->  build/bench/soak_postgresql.json

For ten minutes (`--minutes`) threads of one process do what a fleet does: resolve hot keys and missing ones,
take bundles, read and write blobs, publish artifacts that are new, look artifacts up, report events, take
leases and give them back. The resident memory of the store is sampled each second. It grows while caches fill
(answers in memory, up to 128 MiB; SQLite's pages, 2 MiB a connection): what counts is the slope after the
warm-up.
"""

from __future__ import annotations

import argparse
import random
import statistics
import tempfile
import threading
import time
from collections import Counter
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack
from pathlib import Path

import _servers
from _harness import Goal, finish, progress
from _postgresql import postgresql
from _talk import TARGET, Compiled, Talk, compiled, random_bytes
from inductory_client.contract.build import Build, BuildEntry
from inductory_client.contract.digest import digest_of
from inductory_client.contract.lease import Leased, LeaseEnd, LeasesEnded, LeasesReleased, LeasesWanted
from inductory_client.contract.manifest import Manifest, ManifestEntry
from inductory_client.contract.wire import (
    ArtifactWanted,
    Event,
    Events,
    EventsStored,
    Resolve,
    Resolved,
    encode,
)

MINUTES = 10.0
WARM_UP = 0.3
"""Part of the time after which caches are taken for full."""
THREADS = 8
MODELS = 40
PIECES = 3
PAYLOAD_BYTES = 12_000
BLOB_BYTES = 1 << 20
GOALS: dict[str, Goal] = {"end_over_begin": ("at_most", 1.1)}
MEASURED = {
    "end_over_begin": "resident memory: median of the last tenth over that of the tenth after the warm-up",
    "slope_mib_per_hour": "by least squares, after the warm-up",
    "requests": "of all kinds, all of them answered as they should be",
}


class Fleet:
    """What a fleet asks of a store. Each kind of request is a method that raises where it fails."""

    def __init__(self, url: str) -> None:
        self._local, self._url = threading.local(), url
        self._models = [[_piece(model, at) for at in range(PIECES)] for model in range(MODELS)]
        self._builds = [self._published(model) for model in self._models]
        self._blob = random_bytes("blob", BLOB_BYTES)
        self._expect(self._talk.publish(compiled("of a large blob", self._blob))[0], 201, 200)

    @property
    def _talk(self) -> Talk:
        if not hasattr(self._local, "talk"):
            self._local.talk = Talk(self._url)
        talk: Talk = self._local.talk
        return talk

    def resolve(self, chosen: random.Random) -> None:
        wanted = [each.artifact.key for each in chosen.choice(self._models)]
        asked = Resolve(artifacts=tuple(ArtifactWanted(key=key) for key in wanted), target=TARGET)
        assert len(self._talk.tell("/v1/artifacts:resolve", asked, Resolved).hits) == PIECES

    def miss(self, chosen: random.Random) -> None:
        known = chosen.choice(self._models)[0].artifact
        unknown = ArtifactWanted(key=_new_digest(chosen), graph_digest=known.subject.graph_digest)
        answer = self._talk.tell(
            "/v1/artifacts:resolve", Resolve(artifacts=(unknown,), target=TARGET), Resolved
        )
        assert answer.misses[0].nearest is not None

    def bundle(self, chosen: random.Random) -> None:
        self._expect(self._talk.ask("GET", f"/v1/builds/{chosen.choice(self._builds)}/bundle")[0], 200)

    def blob(self, _: random.Random) -> None:
        status, body = self._talk.ask("GET", f"/v1/blobs/{digest_of(self._blob)}")
        self._expect(status, 200)
        assert body == self._blob

    def publish(self, chosen: random.Random) -> None:
        made = compiled(_new_digest(chosen), chosen.randbytes(PAYLOAD_BYTES))
        self._expect(self._talk.publish(made)[0], 201)

    def look_up(self, chosen: random.Random) -> None:
        path = f"/v1/artifacts?limit=20&build={chosen.choice(self._builds)}"
        self._expect(self._talk.ask("GET", path)[0], 200)

    def report(self, chosen: random.Random) -> None:
        loaded = chosen.choice(self._models)[0].artifact.key
        event = Event(kind="load", at=time.time(), artifact=loaded)
        assert self._talk.tell("/v1/events", Events(events=(event,) * 20), EventsStored).stored == 20

    def lease(self, chosen: random.Random) -> None:
        wanted = LeasesWanted(holder=_new_digest(chosen)[:32], keys=(_new_digest(chosen),), seconds=30.0)
        (lease,) = self._talk.tell("/v1/leases", wanted, Leased).granted
        ended = LeasesEnded(leases=(LeaseEnd(key=lease.key, token=lease.token),))
        assert self._talk.tell("/v1/leases:release", ended, LeasesReleased).released == 1

    def _published(self, pieces: list[Compiled]) -> str:
        for each in pieces:
            self._expect(self._talk.publish(each)[0], 201)
        entries = tuple(
            ManifestEntry(
                shape=each.artifact.subject.shape,
                submodule_index=at,
                backend=each.artifact.subject.backend,
                artifact=each.artifact.key,
            )
            for at, each in enumerate(pieces)
        )
        outer = digest_of(pieces[0].artifact.key.encode())
        manifest = Manifest(graph_digest=outer, guards_digest=outer, submodules=PIECES, entries=entries)
        self._expect(self._talk.ask("PUT", f"/v1/manifests/{manifest.id}", encode(manifest))[0], 201)
        build = Build(
            model=outer[:8],
            sources=outer,
            config=outer,
            target=TARGET,
            entries=(BuildEntry(name="forward", manifest=manifest.id),),
        )
        self._expect(self._talk.ask("PUT", f"/v1/builds/{build.key}", encode(build))[0], 201)
        return build.key

    @staticmethod
    def _expect(status: int, *expected: int) -> None:
        if status not in expected:
            raise RuntimeError(f"the store answered {status}")


_SHARES: dict[str, int] = {
    "resolve": 40,
    "miss": 10,
    "bundle": 10,
    "blob": 5,
    "publish": 10,
    "look_up": 10,
    "report": 10,
    "lease": 5,
}


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("--minutes", type=float, default=MINUTES)
    parser.add_argument("--postgresql", action="store_true", help="with that in place of SQLite")
    parser.add_argument("--small", action="store_true", help="to try it out: half a minute")
    chosen = parser.parse_args()
    seconds = 30.0 if chosen.small else chosen.minutes * 60
    with tempfile.TemporaryDirectory(prefix="inductory-bench-") as name, ExitStack() as stack:
        settings = {}
        if chosen.postgresql:
            database = stack.enter_context(postgresql()).database("soak")
            settings["INDUCTORY_STORE_DATABASE_URL"] = database
        url = stack.enter_context(_servers.store(Path(name) / "store", **settings))
        fleet, done = Fleet(url), threading.Event()
        progress("the fleet begins")
        with ThreadPoolExecutor(THREADS) as pool:
            working = [pool.submit(_work, fleet, number, done) for number in range(THREADS)]
            samples = _sampled(url, seconds, lambda: any(each.done() for each in working))
            done.set()
            counts = sum((each.result() for each in working), Counter[str]())
    figures = _figures(samples, seconds) | {"requests": counts.total(), "seconds": round(seconds)}
    finish(
        "soak_postgresql" if chosen.postgresql else "soak",
        figures,
        GOALS,
        measured=MEASURED,
        runs={"counts": counts, "resident_bytes": samples},
    )


def _work(fleet: Fleet, number: int, done: threading.Event) -> Counter[str]:
    chosen, counts = random.Random(number), Counter[str]()
    kinds, shares = list(_SHARES), list(_SHARES.values())
    while not done.is_set():
        (kind,) = chosen.choices(kinds, shares)
        getattr(fleet, kind)(chosen)
        counts[kind] += 1
    return counts


def _sampled(server: _servers.Server, seconds: float, broken: Callable[[], bool]) -> list[int]:
    """Return the store's resident memory, each second."""
    samples: list[int] = []
    while len(samples) < seconds and not broken():
        samples.append(server.resident_bytes)
        if len(samples) % 60 == 0:
            progress(f"{samples[-1] / (1 << 20):.0f} MiB")
        time.sleep(1.0)
    return samples


def _figures(samples: list[int], seconds: float) -> dict[str, float]:
    warm = samples[int(len(samples) * WARM_UP) :]
    tenth = max(1, len(samples) // 10)
    begin, end = statistics.median(warm[:tenth]), statistics.median(warm[-tenth:])
    slope = statistics.linear_regression(range(len(warm)), warm).slope
    return {
        "end_over_begin": round(end / begin, 4),
        "slope_mib_per_hour": round(slope * 3600 / (1 << 20), 2),
        "begin_mib": round(begin / (1 << 20), 1),
        "end_mib": round(end / (1 << 20), 1),
        "most_mib": round(max(samples) / (1 << 20), 1),
    }


def _piece(model: int, at: int) -> Compiled:
    return compiled(f"model {model}, piece {at}", random_bytes((model, at), PAYLOAD_BYTES))


def _new_digest(chosen: random.Random) -> str:
    return chosen.randbytes(32).hex()


if __name__ == "__main__":
    main()
