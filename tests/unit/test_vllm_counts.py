"""What a start of vLLM is told of what it got, and of what the engine then did with it."""

from __future__ import annotations

import sys
from types import SimpleNamespace

import pytest
from client_samples import FakeClock
from inductory_client.deadline import StoreBudget
from inductory_client.integrations.vllm import counts as module
from inductory_client.integrations.vllm.counts import GENERATED, Counts, engine_counters

SILENT = SimpleNamespace(bytes_fetched=0)


@pytest.fixture
def engine(monkeypatch: pytest.MonkeyPatch) -> dict[str, int]:
    """What the engine counts; change it as the engine goes on."""
    counters = {"num_aot_artifacts_loaded": 0, "num_compiled_artifacts_loaded": 0, GENERATED: 0}
    monkeypatch.setattr(module, "engine_counters", lambda: dict(counters))
    return counters


@pytest.fixture
def counts(engine: dict[str, int]) -> Counts:
    return Counts(SILENT)  # type: ignore[arg-type]


def test_the_line_of_a_start_that_got_nothing(counts: Counts) -> None:
    assert counts.line() == (
        "served nothing; loaded 0, compiled 0 by the engine's own count; missed nothing; "
        "0.00 MB moved; waited 0.00 s"
    )


def test_the_line_tells_each_level_by_name(counts: Counts, engine: dict[str, int]) -> None:
    counts.begin()
    counts.served_one("submodule", 3)
    counts.served_one("model")
    counts.served_one("triton", 0)
    counts.missed_one("triton", "nobody has published it")
    counts.offered_one("triton")
    counts.waited("fetch", 0.25)
    counts.waited("restore", 1)
    counts.client.bytes_fetched = 1_500_000
    engine |= {"num_aot_artifacts_loaded": 1, "num_compiled_artifacts_loaded": 3, GENERATED: 2}
    assert counts.line() == (
        "served 1 model, 3 submodule; loaded 4, compiled 2 by the engine's own count; "
        "missed 1 triton (nobody has published it); publishing 1 triton; 1.50 MB moved; waited 1.25 s"
    )


def test_what_was_handed_over_is_not_what_the_engine_loaded(counts: Counts) -> None:
    counts.begin()
    counts.served_one("model")
    assert "served 1 model; loaded 0, compiled 0 by the engine's own count" in counts.line()


def test_a_reason_is_told_once_and_not_more_than_ten_are(counts: Counts) -> None:
    for place in range(30):
        counts.missed_one("submodule", f"reason {place // 2}")
        counts.missed_one("submodule")
    assert counts.missed["submodule"] == 60
    assert counts.reasons == [f"reason {place}" for place in range(10)]


def test_the_engine_is_counted_from_where_the_first_model_began(
    counts: Counts, engine: dict[str, int]
) -> None:
    engine |= {"num_aot_artifacts_loaded": 5, GENERATED: 7}
    counts.begin()
    engine |= {"num_aot_artifacts_loaded": 6, GENERATED: 9}
    counts.begin()
    engine |= {"num_aot_artifacts_loaded": 7, "num_aot_compiles": 1}
    assert counts.by_engine() == {
        "num_aot_artifacts_loaded": 2,
        "num_compiled_artifacts_loaded": 0,
        GENERATED: 2,
        "num_aot_compiles": 1,
    }


def test_the_counters_are_vllms_and_inductors(monkeypatch: pytest.MonkeyPatch) -> None:
    counter = SimpleNamespace(num_aot_compiles=2, num_aot_artifacts_loaded=True, num_of_another_kind=9)
    monkeypatch.setitem(sys.modules, "vllm.compilation.counter", SimpleNamespace(compilation_counter=counter))
    found = engine_counters()
    assert found == {
        "num_aot_artifacts_loaded": 1,
        "num_aot_compiles": 2,
        "num_compiled_artifacts_loaded": 0,
        GENERATED: found[GENERATED],
    }


def test_inductors_are_counted_where_vllm_has_moved_its_own(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "vllm.compilation.counter", SimpleNamespace())
    assert list(engine_counters()) == [GENERATED]


@pytest.mark.parametrize(("free", "left"), [(False, 1.5), (True, 2.0)])
def test_a_step_that_the_start_waits_for_leaves_less_for_the_store(free: bool, left: float) -> None:
    clock = FakeClock()
    budget = StoreBudget(2.0, clock)
    counts = Counts(SimpleNamespace(budget=budget))  # type: ignore[arg-type]
    with counts.ours("key", "no key can be made", "model", free=free):
        clock.pass_by(0.5)
        raise ValueError
    assert budget.remaining() == left
    assert counts.missed == {"model": 1}
