"""`kill -9` at any step of a publication and of a collection: no name is without its bytes, and nothing stays
for good.
"""

from __future__ import annotations

import random
from collections.abc import Iterator
from dataclasses import replace
from itertools import count
from pathlib import Path

import pytest
from inductory_client.contract.digest import digest_of
from inductory_client.contract.lifetime import RootWanted
from inductory_store.operations.roots import add_root
from inductory_store.serve import migrate, opened
from inductory_store.settings import StoreSettings
from inductory_store.store import Store
from killing import Ended, Job, Killer
from lifetimes import Later, at_rest, check, is_there, keep_days, publish
from store_messages import artifact, descriptor
from store_process import Database

RUNS = {"folder": 120, "bucket": 30}
"""Of each catalog, by where its blobs are."""
NAMES = 5
STAGES = (
    "UPDATE artifact SET condemned_at",
    "DELETE FROM artifact ",
    "UPDATE blob SET state",
    "delete: gone",
)
"""A few words of what each stage does."""


class World:
    """A store whose publishers and collectors are killed, and time that passes between."""

    def __init__(self, store: Store, killer: Killer, clock: Later, runs: int) -> None:
        self.store, self.killer, self.clock, self.runs = store, killer, clock, runs

    def do(self, what: str, name: str = "", kill_at: int = 0) -> Ended:
        return self.killer.do(Job(what, name, self.clock.now, kill_at))

    def is_kept(self) -> bool:
        """Whether what is rooted is there."""
        return is_there(self.store, artifact([descriptor(b"rooted" * 100)], "rooted").key)


@pytest.fixture(params=["folder", "bucket"])
def place(request: pytest.FixtureRequest) -> tuple[str, dict[str, str]]:
    """Where the blobs are, and what a store is told of it."""
    environ = request.getfixturevalue("bucket").environ if request.param == "bucket" else {}
    return request.param, environ


@pytest.fixture
def world(database: Database, place: tuple[str, dict[str, str]], tmp_path: Path) -> Iterator[World]:
    environ = {**database, **place[1]}
    settings = StoreSettings.load(environ, data_dir=tmp_path / "data")
    migrate(settings)
    clock = Later()
    with opened(settings) as store, Killer(settings.data_dir, environ) as killer:
        store = replace(store, clock=clock)
        _, _, start = publish(store, "rooted")
        add_root(store, "default", "build", start, RootWanted())
        keep_days(store, 1)
        yield World(store, killer, clock, RUNS[place[0]])


def end(world: World) -> None:
    """Let all that isn't rooted grow old and go, undisturbed."""
    for _ in range(4):
        world.clock.after(days=2)
        assert not world.do("gc").killed
    assert check(world.store) == 1
    assert len(at_rest(world.store)) == 2, "the rooted build's piece and its source: nothing is left for good"


def test_killed_at_random_steps_of_publications_and_collections(world: World) -> None:
    chance = random.Random(20261125)
    published = world.do("publish", "0").steps
    assert ("bucket: PUT" in published) == (world.runs == RUNS["bucket"]), "requests are steps"
    steps = {"publish": len(published), "gc": len(world.do("gc").steps)}
    killed = 0
    for _ in range(world.runs):
        what = chance.choice(("publish", "gc", "gc"))
        # Collections have less to do at times: some of these end well.
        ended = world.do(what, str(chance.randrange(NAMES)), chance.randint(1, steps[what]))
        killed += ended.killed
        steps[what] = max(steps[what], len(ended.steps))
        assert world.is_kept()
        check(world.store)
        if chance.random() < 0.3:
            world.do("use", str(chance.randrange(NAMES)))
        world.clock.after(days=chance.choice((0.0, 0.0, 0.3, 1.1)))
    assert killed > world.runs // 2
    end(world)


def test_killed_before_each_step_of_a_publication_over_what_is_deleted(world: World) -> None:
    """What it names is there, awaits deletion, or was deleted, and is kept or sent again."""
    step, ended = 0, Ended(killed=True, steps=[])
    while ended.killed:
        step += 1
        ended = world.do("publish", "0", step)
        check(world.store)
        world.clock.after(days=1.1)
        world.do("gc")
        check(world.store)
    assert not world.do("publish", "0").killed
    assert is_there(world.store, artifact([descriptor(b"0" * 100)], "0").key)
    end(world)


def test_killed_before_each_step_of_a_collection(world: World) -> None:
    """One that condemns a build, drops another, and condemns and deletes blobs of those before."""
    plain = world.store.catalog.engine.dialect.name == "sqlite" and world.runs == RUNS["folder"]
    stride = 1 if plain else 3
    step, ended = 0, Ended(killed=True, steps=[])
    stages: set[str] = set()
    for day in count():
        world.do("publish", str(day % 8))
        world.clock.after(days=1.2)
        if day >= 4:  # from here on there is something of each kind to do
            step += stride
            ended = world.do("gc", kill_at=step)
            check(world.store)
            assert world.is_kept()
        again = world.do("gc")
        assert not again.killed, "the next one goes on"
        check(world.store)
        stages |= {stage for stage in STAGES if any(stage in each for each in again.steps)}
        if not ended.killed:
            break
    assert stages == set(STAGES)
    end(world)


def test_a_stray_is_swept_however_its_upload_ended(world: World) -> None:
    steps = world.do("publish", "0").steps
    rests = steps.index("put: at rest") + 2
    assert world.do("publish", "1", rests).killed
    assert digest_of(b"1" * 100) in at_rest(world.store)
    check(world.store)
    world.do("gc")
    world.clock.after(days=1.1)
    world.do("gc")
    assert digest_of(b"1" * 100) not in at_rest(world.store)
