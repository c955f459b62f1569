"""What is done to a module once somebody imports it."""

from __future__ import annotations

import importlib
import sys
from pathlib import Path
from types import ModuleType

import pytest
from inductory_client.after_import import after_import


@pytest.fixture
def name(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> str:
    """A module that nobody has imported yet."""
    name = f"imported_later_{tmp_path.name.replace('-', '_')}"
    (tmp_path / f"{name}.py").write_text("value = 1\n")
    monkeypatch.syspath_prepend(str(tmp_path))
    return name


def test_it_is_done_right_after_the_import_and_not_before(name: str) -> None:
    seen: list[int] = []

    def then(module: ModuleType) -> None:
        seen.append(module.value)
        module.value = 2

    after_import(name, then)
    after_import(name, then)
    assert (seen, name in sys.modules) == ([], False)
    module = importlib.import_module(name)
    assert (seen, module.value) == ([1, 2], 2)
    assert module.__spec__ is not None
    assert module.__spec__.loader is module.__loader__
    assert type(module.__loader__).__module__ != "inductory_client.after_import", "it keeps its own loader"
    importlib.reload(module)
    assert seen == [1, 2], "once"


def test_a_module_that_is_there_is_seen_at_once() -> None:
    seen: list[str] = []
    after_import("json", lambda module: seen.append(module.__name__))
    assert seen == ["json"]


def test_what_fails_is_warned_about_and_the_import_goes_on(
    name: str, caplog: pytest.LogCaptureFixture
) -> None:
    def then(module: ModuleType) -> None:
        raise RuntimeError("moved")

    after_import(name, then)
    assert importlib.import_module(name).value == 1
    assert f"what waited for {name} failed: RuntimeError('moved')" in caplog.text


def test_a_module_that_is_not_there_stays_an_import_error() -> None:
    after_import("nothing_of_that_name", lambda module: None)
    with pytest.raises(ModuleNotFoundError):
        importlib.import_module("nothing_of_that_name")
