"""Publishers, readers and collectors at once, while days pass: whoever is told of something reads it.

`RACE_ROUNDS` says how many rounds the collectors make; `make race` makes as many as take a minute or two.
"""

from __future__ import annotations

import os
import random
import threading
from collections import Counter
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack, contextmanager
from dataclasses import replace
from pathlib import Path

from inductory_client.contract import wire
from inductory_client.contract.digest import digest_of
from inductory_client.contract.errors import ArtifactMissing, BlobMissing, StorageFailed
from inductory_client.contract.lifetime import RootWanted
from inductory_store.operations.get_blob import find_blob, read_blob
from inductory_store.operations.resolve import resolve
from inductory_store.operations.roots import add_root
from inductory_store.serve import migrate, opened
from inductory_store.settings import StoreSettings
from inductory_store.store import Store
from inductory_store.uses import Uses
from lifetimes import DAY, Later, at_rest, check, gc, is_there, keep_days, publish, use
from store_messages import artifact, descriptor
from store_process import Database

ROUNDS = int(os.environ.get("RACE_ROUNDS", "25"))
ROUNDS_MAX = 40 * ROUNDS
PASS_S = 0.3 * DAY
"""How far the clock moves: whatever is under way sees at most three such, less than a grace."""
PUBLISHERS, READERS, COLLECTORS, NAMES = 2, 2, 2, 6
TRIES_MAX = 5


class Days(Later):
    """A clock that moves only when all who began before it last moved are done: no day passes under them."""

    def __init__(self) -> None:
        super().__init__()
        self._changed = threading.Condition()
        self._under_way: Counter[int] = Counter()
        self._turn = 0

    @contextmanager
    def busy(self) -> Iterator[None]:
        with self._changed:
            turn = self._turn
            self._under_way[turn] += 1
        try:
            yield
        finally:
            with self._changed:
                self._under_way[turn] -= 1
                self._changed.notify_all()

    def move(self) -> None:
        with self._changed:
            before = self._turn
            assert self._changed.wait_for(
                lambda: not any(count for turn, count in self._under_way.items() if turn < before), timeout=60
            )
            if self._turn == before:  # else another one moved it meanwhile
                self._turn += 1
                self.now += PASS_S


class Race:
    def __init__(self, stores: list[Store], days: Days) -> None:
        self.stores, self.days = stores, days
        self.over = threading.Event()
        self.done: Counter[str] = Counter()

    def run(self) -> None:
        roles: list[Callable[[int], None]] = [self.publish] * PUBLISHERS + [self.read] * READERS
        with ThreadPoolExecutor(len(roles) + COLLECTORS) as pool:
            others = [pool.submit(role, at) for at, role in enumerate(roles)]
            try:
                for each in [pool.submit(self.collect, at) for at in range(COLLECTORS)]:
                    each.result()
            finally:
                self.over.set()
            for each in others:
                each.result()

    def store(self, at: int) -> Store:
        return self.stores[at % len(self.stores)]

    def name(self, chance: random.Random) -> str:
        """Return one of the two that are wanted these days, and now and then any other."""
        if chance.random() < 0.02:
            return str(chance.randrange(NAMES))
        return str((int(self.days.now // DAY) + chance.randrange(2)) % NAMES)

    def publish(self, at: int) -> None:
        """Publish as a client does, which sends again what it is asked for."""
        chance = random.Random(at)
        while not self.over.is_set():
            with self.days.busy():
                name = self.name(chance)
                for attempt in range(TRIES_MAX):
                    try:
                        publish(self.store(at), name)
                        break
                    except (BlobMissing, ArtifactMissing, StorageFailed):
                        assert attempt < TRIES_MAX - 1
                        self.done["sent again"] += 1
                self.done["published"] += 1

    def read(self, at: int) -> None:
        """Ask for artifacts, and read all bytes that are promised; start from a build."""
        chance = random.Random(at)
        keys = [artifact([descriptor(str(name).encode() * 100)], str(name)).key for name in range(NAMES)]
        while not self.over.is_set():
            # It reads on what nobody keeps for it: its uses aren't noted.
            store = replace(self.store(at + 1), uses=Uses())
            with self.days.busy():
                asked = wire.Resolve(
                    artifacts=tuple(wire.ArtifactWanted(key=key) for key in keys), inline_bytes_max=0
                )
                hits = wire.decode(wire.encode(resolve(store, "default", asked)), wire.Resolved).hits
                chance.shuffle(keys)
                for each in (descriptor for hit in hits for descriptor in hit.subject.loaded):
                    data = read_blob(store, each.digest, find_blob(store, each.digest).size, 0, each.size)
                    assert isinstance(data, bytes)
                    assert digest_of(data) == each.digest
                    self.done["read"] += 1
                if chance.random() < 0.1:
                    use(replace(store, uses=Uses()), self.name(chance))
                    store.answers.forget()

    def collect(self, at: int) -> None:
        for turn in range(ROUNDS_MAX):
            if turn >= ROUNDS and self.done["dropped"] and self.done["deleted"]:
                break  # a busy machine's publishers and readers may leave less time for collectors
            with self.days.busy():
                found = gc(self.store(at), self.days.now)
            self.done["dropped"] += sum(len(each.drop) for each in found.names)
            self.done["deleted"] += len(found.blobs.delete)
            self.days.move()


def test_whoever_is_told_of_something_reads_it(database: Database, tmp_path: Path) -> None:
    settings = StoreSettings.load(database, data_dir=tmp_path / "data")
    migrate(settings)
    days = Days()
    with ExitStack() as stack:
        stores = [replace(stack.enter_context(opened(settings)), clock=days) for _ in range(3)]
        _, _, start = publish(stores[0], "rooted")
        add_root(stores[0], "default", "build", start, RootWanted())
        keep_days(stores[0], 1)
        race = Race(stores, days)
        race.run()
        assert min(race.done[what] for what in ("published", "read", "dropped", "deleted")) > 0, race.done
        check(stores[0])
        assert is_there(stores[0], artifact([descriptor(b"rooted" * 100)], "rooted").key)
        for _ in range(4):
            days.after(days=2)
            gc(stores[0], days.now)
        assert check(stores[0]) == 1
        assert len(at_rest(stores[0])) == 2, "the rooted build's piece and its source"
