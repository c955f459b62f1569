"""The functions that vLLM's plugin goes around: found, compared and replaced, in modules that stand in."""

from __future__ import annotations

import importlib
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from inductory_client.integrations.vllm.places import (
    PLACES,
    Place,
    go_around,
    moved,
    moved_in_source,
    resolve,
)
from inductory_client.settings import VLLM_LEVELS

SOURCE = """
import functools

def load(model, path): return "loaded"

def taken(model, /, *paths, retries=3, **options): ...

class Manager:
    class Inner:
        def save(self): ...

    def __init__(self, prefix): self.prefix = prefix

    def put(self, name, data): return (self.prefix, name, data)

    @staticmethod
    def folder(): return "/cache"

name = "not a function"
"""


@pytest.fixture
def module(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> str:
    """The name of a module that can be imported, and is read as source too."""
    name = f"vllm_places_{tmp_path.name.replace('-', '_')}"
    (tmp_path / f"{name}.py").write_text(SOURCE)
    monkeypatch.syspath_prepend(str(tmp_path))
    return name


Differing = Callable[..., list[str]]


@pytest.fixture(params=["imported", "in source"])
def differing(request: pytest.FixtureRequest, module: str, tmp_path: Path) -> Differing:
    """Says what of a place isn't as it was read: both ways say the same."""

    def source(name: str) -> bytes | None:
        path = tmp_path / name
        return path.read_bytes() if path.is_file() else None

    def found(name: str, *parameters: str, of: str = module) -> list[str]:
        places = [Place(of, name, parameters)]
        told = moved(places) if request.param == "imported" else moved_in_source(places, source)
        return [each.replace(module, "module") for each in told]

    return found


@pytest.mark.parametrize(
    ("name", "parameters"),
    [
        ("load", ("model", "path")),
        ("Manager.put", ("self", "name", "data")),
        ("Manager.folder", ()),
        ("Manager.Inner.save", ("self",)),
    ],
)
def test_a_function_as_it_was_read_has_not_moved(
    differing: Differing, name: str, parameters: tuple[str, ...]
) -> None:
    assert differing(name, *parameters) == []


@pytest.mark.parametrize("name", ["unload", "Manager.get", "Keeper.put", "Manager.Inner.load"])
def test_a_function_that_is_gone_is_told(differing: Differing, name: str) -> None:
    assert differing(name) == [f"module.{name} isn't there"]


def test_what_is_no_function_is_not_there(differing: Differing) -> None:
    assert differing("name") == ["module.name isn't there"]


def test_other_parameters_are_told(differing: Differing) -> None:
    assert differing("load", "model", "path", "device") == ["module.load takes (model, path)"]
    assert differing("load", "path", "model") == ["module.load takes (model, path)"]
    assert differing("Manager.put", "name", "data") == ["module.Manager.put takes (self, name, data)"]


def test_parameters_of_every_kind_count(differing: Differing) -> None:
    assert differing("taken", "model", "paths", "retries", "options") == []


def test_a_module_that_is_gone_is_told(differing: Differing) -> None:
    told = differing("load", "model", "path", of="vllm_places_of_another_day")
    assert told == ["vllm_places_of_another_day.load isn't there"]


def test_a_place_says_what_it_is_and_where() -> None:
    place = Place("vllm.compilation.backends", "Manager.put", ("self", "name"))
    assert str(place) == "vllm.compilation.backends.Manager.put(self, name)"
    assert place.file == "vllm/compilation/backends.py"


def test_every_level_has_places() -> None:
    assert tuple(PLACES) == VLLM_LEVELS
    assert all(PLACES.values())


def test_a_function_is_gone_around_once(module: str) -> None:
    place = Place(module, "load", ("model", "path"))

    def around(original: Callable[..., Any]) -> Callable[..., Any]:
        return lambda *arguments: f"around {original(*arguments)}"

    go_around(place, around)
    go_around(place, around)
    assert importlib.import_module(module).load("model", "path") == "around loaded"


def test_a_method_is_gone_around_for_all_instances(module: str) -> None:
    manager = importlib.import_module(module).Manager("backbone")

    def around(original: Callable[..., Any]) -> Callable[..., Any]:
        def put(self: Any, name: str, data: bytes) -> Any:
            return original(self, name.upper(), data)

        return put

    go_around(Place(module, "Manager.put", ("self", "name", "data")), around)
    assert manager.put("name", b"data") == ("backbone", "NAME", b"data")


def test_a_static_method_is_resolved_to_its_function(module: str) -> None:
    assert resolve(Place(module, "Manager.folder", ()))() == "/cache"
