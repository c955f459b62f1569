"""Who compiles what, and who waits: the turns that processes take at the pieces of a graph."""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import dataclass, field

import pytest
from client_samples import FakeClock
from inductory_client.contract.lease import FailedKey
from inductory_client.graph.turns import Turns, is_of_graph
from inductory_client.graph.unsupported import Unsupported
from inductory_client.leasing import Turn


@dataclass
class OtherProcess:
    """Leases as a store would give them, where another process has some keys, and what became of ours."""

    clock: FakeClock
    holds: set[str] = field(default_factory=set)
    """Keys that the other process compiles."""
    publishes_at: float = float("inf")
    dies_at: float = float("inf")
    failed: dict[str, str] = field(default_factory=dict)
    away: bool = False
    """Whether nobody says any more how keys stand."""
    published: set[str] = field(default_factory=set)
    ended: dict[str, str | None] = field(default_factory=dict)

    def take(self, keys: Collection[str]) -> Turn:
        self._pass()
        failed = tuple(
            FailedKey(key=k, reason=self.failed[k], retry_in_s=9) for k in keys if k in self.failed
        )
        held, published = self.holds & set(keys), self.published & set(keys)
        mine = set(keys) - held - published - self.failed.keys()
        return Turn(mine=frozenset(mine), held=frozenset(held), published=frozenset(published), failed=failed)

    def end(self, keys: Collection[str], failure: str | None = None) -> None:
        self.ended |= dict.fromkeys(keys, failure)

    def wait(self, keys: Collection[str], until: float) -> object:
        if self.away:
            return None
        self.clock.now = min(until, self.publishes_at, self.dies_at)
        return None if self.clock.now == until else "something changed"

    def _pass(self) -> None:
        if self.clock.now >= self.publishes_at:
            self.published |= self.holds
        if self.clock.now >= min(self.dies_at, self.publishes_at):
            self.holds = set()


@dataclass
class Here:
    """A process that takes turns."""

    other: OtherProcess
    patience_s: float = 100.0
    lost: set[str] = field(default_factory=set)
    """What is published and can't be had."""
    compiled: list[tuple[set[str], bool]] = field(default_factory=list)
    brought: set[str] = field(default_factory=set)
    error: BaseException | None = None

    def take(self, *keys: str) -> Turns:
        turns = Turns(
            self.other,
            compile_here=self._compile,
            bring=self._bring,
            patience_s=self.patience_s,
            clock=self.other.clock,
        )
        turns.take(keys)
        return turns

    def _compile(self, keys: Collection[str], others: bool) -> None:
        if self.error is not None:
            raise self.error
        self.compiled.append((set(keys), others))

    def _bring(self, keys: Collection[str]) -> set[str]:
        found = set(keys) - self.lost
        self.brought |= found
        return found


@pytest.fixture
def clock() -> FakeClock:
    return FakeClock()


def test_what_nobody_has_is_compiled_here(clock: FakeClock) -> None:
    here = Here(OtherProcess(clock))
    turns = here.take("a", "b")
    assert here.compiled == [({"a", "b"}, False)]
    assert not turns.waited
    assert not here.other.ended, "the leases end with the publication"


def test_what_another_compiles_is_waited_for_and_brought(clock: FakeClock) -> None:
    here = Here(OtherProcess(clock, holds={"b"}, publishes_at=clock.now + 50))
    turns = here.take("a", "b")
    assert here.compiled == [({"a"}, True)], "its own first, and published before it waits"
    assert here.brought == turns.waited == {"b"}
    assert turns.waited_s == 50
    assert not turns.impatient


def test_who_runs_out_of_patience_compiles(clock: FakeClock) -> None:
    here = Here(OtherProcess(clock, holds={"b"}), patience_s=30)
    turns = here.take("a", "b")
    assert here.compiled == [({"a"}, True), ({"b"}, False)]
    assert turns.impatient == {"b"}
    assert turns.waited_s == 30


def test_when_the_store_is_gone_nobody_waits_for_it(clock: FakeClock) -> None:
    here = Here(OtherProcess(clock, holds={"b"}, away=True))
    turns = here.take("b")
    assert here.compiled == [({"b"}, False)]
    assert turns.impatient == {"b"}


def test_without_patience_nobody_waits(clock: FakeClock) -> None:
    here = Here(OtherProcess(clock, holds={"b"}), patience_s=0)
    turns = here.take("a", "b")
    assert here.compiled == [({"a", "b"}, False)]
    assert turns.impatient == {"b"}
    assert turns.waited_s == 0


def test_when_the_holder_dies_it_is_this_processs_turn(clock: FakeClock) -> None:
    here = Here(OtherProcess(clock, holds={"a"}, dies_at=clock.now + 20))
    turns = here.take("a")
    assert here.compiled == [({"a"}, False)]
    assert not turns.impatient
    assert not turns.waited


def test_what_was_published_just_now_is_brought_and_not_waited_for(clock: FakeClock) -> None:
    here = Here(OtherProcess(clock, published={"a"}))
    turns = here.take("a")
    assert here.brought == {"a"}
    assert not turns.waited
    assert not here.compiled


def test_what_is_published_and_cant_be_had_is_compiled(clock: FakeClock) -> None:
    here = Here(OtherProcess(clock, published={"a"}), lost={"a"})
    here.take("a", "b")
    assert here.compiled == [({"a", "b"}, False)]


def test_what_failed_elsewhere_isnt_tried(clock: FakeClock) -> None:
    here = Here(OtherProcess(clock, failed={"a": "InductorError: no such instruction"}))
    with pytest.raises(Unsupported, match=r"no such instruction.* tried again in 9 s"):
        here.take("a", "b")
    assert not here.compiled
    assert here.other.ended == {"b": None}, "and others may compile the rest"


@pytest.mark.parametrize(
    ("error", "told"),
    [
        (RuntimeError("no such instruction"), "RuntimeError: no such instruction"),
        (Unsupported("it holds for other sizes"), None),
        (MemoryError(), None),
        (KeyboardInterrupt(), None),
    ],
)
def test_a_compile_that_fails_ends_the_leases(
    clock: FakeClock, error: BaseException, told: str | None
) -> None:
    here = Here(OtherProcess(clock, holds={"b"}), error=error)
    with pytest.raises(type(error)):
        here.take("a", "b")
    assert here.other.ended == {"a": told}, "what another compiles stays that one's"


def test_what_a_node_lacks_isnt_the_graphs_fault() -> None:
    class InvalidCxxCompiler(Exception):
        pass

    def caused(cause: BaseException) -> RuntimeError:
        error = RuntimeError("it failed")
        error.__cause__ = cause
        return error

    assert is_of_graph(caused(ValueError("a bad shape")))
    assert not is_of_graph(caused(caused(InvalidCxxCompiler())))
    assert not is_of_graph(caused(RuntimeError("fatal error: writing: No space left on device")))
    assert not is_of_graph(caused(FileNotFoundError("g++")))
    circle = RuntimeError()
    circle.__cause__ = caused(circle)
    assert is_of_graph(circle)
