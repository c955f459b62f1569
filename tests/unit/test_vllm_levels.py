"""The plugin's levels where something of ours fails in a way that nobody thought of: vLLM goes on."""

from __future__ import annotations

import logging
import sys
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from client_samples import client
from inductory_client.deadline import StoreBudget
from inductory_client.integrations.vllm import places, plugin
from inductory_client.integrations.vllm.counts import Counts
from inductory_client.integrations.vllm.model import ModelLevel
from inductory_client.integrations.vllm.modelinfo import ModelinfoLevel
from inductory_client.integrations.vllm.submodule import SubmoduleLevel
from inductory_client.trouble import forget_warnings
from torch._functorch._aot_autograd import autograd_cache

COMPILED = ("compiled", ("name", "path"))
RANGE = SimpleNamespace(start=1, end=8)


@pytest.fixture(autouse=True)
def _warn_again() -> None:
    forget_warnings()


class Broken:
    """Stands where the client is, and fails at whatever it is asked."""

    bytes_fetched = 0
    budget = StoreBudget(2.0)

    def __getattr__(self, name: str) -> Any:
        raise ZeroDivisionError(f"no {name}")


@pytest.fixture
def counts() -> Counts:
    return Counts(Broken())  # type: ignore[arg-type]


def test_a_step_that_fails_ends_quietly_and_is_told_once(
    counts: Counts, caplog: pytest.LogCaptureFixture
) -> None:
    for _ in range(2):
        with counts.ours("step", "a step isn't made", "model"):
            raise KeyError("something")
    warned = [record for record in caplog.records if record.levelno == logging.WARNING]
    assert [record.getMessage() for record in warned] == ["a step isn't made: KeyError: 'something'"]
    assert counts.missed["model"] == 2
    assert counts.reasons == ["a step isn't made: KeyError: 'something'"]
    assert counts.seconds["step"] == counts.waited_s > 0


def test_what_runs_beside_the_start_is_not_waited_for(counts: Counts) -> None:
    with counts.ours("step", "a step isn't made", free=True):
        pass
    assert counts.waited_s == 0


def test_what_ends_a_process_is_not_kept_from_it(counts: Counts) -> None:
    with pytest.raises(KeyboardInterrupt), counts.ours("step", "a step isn't made"):
        raise KeyboardInterrupt


def test_a_piece_is_compiled_whatever_fails(counts: Counts, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(autograd_cache, "autograd_cache_key", lambda: ("a" * 65, []))

    def compile_as_torch(*_: Any) -> tuple[str, tuple[str, str]]:
        autograd_cache.autograd_cache_key()
        return COMPILED

    compile_piece = SubmoduleLevel(counts.client, counts, lambda _: True).around_compile(compile_as_torch)
    assert compile_piece(SimpleNamespace(), None, [], {}, RANGE, "key") == COMPILED
    assert counts.missed["submodule"] == 1


def test_a_model_is_loaded_by_vllm_whatever_fails(counts: Counts, tmp_path: Path) -> None:
    level = ModelLevel(counts.client, counts, lambda: True)
    load = level.around_load(lambda model, path: "vLLM's")
    assert load(SimpleNamespace(), str(tmp_path / "rank_0_0" / "model")) == "vLLM's"
    assert counts.missed["model"] == 1


def test_a_model_class_is_inspected_whatever_fails(counts: Counts, tmp_path: Path) -> None:
    registered = SimpleNamespace(_get_cache_filename=lambda: "a.json", _get_cache_dir=lambda: tmp_path)
    level = ModelinfoLevel(counts.client, counts)
    written: list[str] = []
    assert level.around_read(lambda *_: None)(registered, "hash") is None
    level.around_write(lambda _, mi, hash: written.append(mi))(registered, "what was found", "hash")
    assert written == ["what was found"]
    assert counts.missed["modelinfo"] == 1


def test_what_several_submodules_share_is_loaded_once_by_each_compiler(counts: Counts) -> None:
    loaded: list[str] = []

    def original(adaptor: Any, handle: tuple[str, str], *rest: Any) -> object:
        loaded.append(handle[0])
        return object()

    load = ModelLevel(Broken(), counts, lambda: True).around_load_piece(original)  # type: ignore[arg-type]
    one, another = SimpleNamespace(), SimpleNamespace()
    first = load(one, ("same", "/there/same"), None, [], 0, RANGE)
    assert load(one, ("same", "/there/same"), None, [], 3, RANGE) is first
    assert load(one, ("other", "/there/other"), None, [], 1, RANGE) is not first
    assert load(another, ("same", "/there/same"), None, [], 0, RANGE) is not first
    assert loaded == ["same", "other", "same"]


def test_once_the_worker_is_warm_turns_are_given_up(
    counts: Counts, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    """In the real vLLM that takes a GPU: these are its modules as far as the plugin goes around them."""

    class Worker:
        def compile_or_warm_up_model(self) -> str:
            return "warm"

    for place, owner in ((places.LOAD_MODEL, {}), (places.WARMED_UP, {"Worker": Worker})):
        module = SimpleNamespace(**owner, _try_load_aot_compiled_fn=lambda model, path: None)
        monkeypatch.setitem(sys.modules, place.module, module)
    with client(tmp_path / "node") as node:
        at_last: list[Any] = []
        plugin._install_model(node.settings, node, counts, None, at_last)
        (end,) = at_last
        taken = end.__self__._taken
        taken.add("a key")
        plugin._go_around_warmed_up(Counts(node), at_last)
        assert Worker().compile_or_warm_up_model() == "warm"
        assert taken == set()
