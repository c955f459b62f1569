"""The ways by which torch's caches come to be served: the entry point, the one line, and a torch unknown."""

from __future__ import annotations

import importlib
import inspect
import logging
import os
import subprocess
import sys
import tomllib
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest
from inductory_client.after_import import after_import
from inductory_client.graph.torch_remote import put_in_place
from inductory_client.trouble import forget_warnings

ROOT = Path(__file__).parents[2]
AUTOLOAD = """
import importlib, sys
before = set(sys.modules)
finders = len(sys.meta_path)
name, function = "inductory_client.integrations.torch_autoload:autoload".split(":")
getattr(importlib.import_module(name), function)()
print(len(sys.meta_path) - finders, *sorted(set(sys.modules) - before))
"""


@pytest.fixture(autouse=True)
def _warn_again() -> None:
    forget_warnings()


def autoloaded(**environ: str) -> tuple[int, set[str], str]:
    """Return how many imports are awaited, what was imported, and what was said."""
    command = [sys.executable, "-c", AUTOLOAD]
    done = subprocess.run(command, env=os.environ | environ, check=True, capture_output=True, text=True)
    awaited, *modules = done.stdout.split()
    return int(awaited), set(modules), done.stderr


# --- the entry point ---


def test_the_entry_point_is_declared() -> None:
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    (named,) = project["entry-points"]["torch.backends"].values()
    assert named == "inductory_client.integrations.torch_autoload:autoload"


@pytest.mark.parametrize("text", ["", "0"])
def test_without_the_variable_nothing_is_done_and_nothing_imported(text: str) -> None:
    awaited, modules, said = autoloaded(INDUCTORY_TORCH_CACHE=text)
    ours = {f"inductory_client{each}" for each in ("", ".version", ".integrations")}
    ours |= {"inductory_client.integrations.torch_autoload"}
    assert (awaited, modules - {"__future__"}, said) == (0, ours, "")


def test_with_the_variable_an_import_is_awaited_and_torch_not_imported() -> None:
    awaited, modules, said = autoloaded(INDUCTORY_TORCH_CACHE="1")
    assert (awaited, said) == (1, "")
    assert not {name.split(".")[0] for name in modules} & {"torch", "numpy", "cryptography"}


@pytest.mark.parametrize(
    "environ",
    [
        {"INDUCTORY_TORCH_CACHE": "off"},
        {"INDUCTORY_TORCH_CACHE": "1", "INDUCTORY_DISABLED": "1"},
        {"INDUCTORY_TORCH_CACHE": "perhaps"},
        {"INDUCTORY_TORCH_CACHE": "1", "INDUCTORY_URL": "ftp://nonsense"},
    ],
)
def test_what_makes_no_sense_or_is_off_does_nothing_and_never_raises(environ: dict[str, str]) -> None:
    awaited, _, said = autoloaded(**environ)
    assert awaited == 0
    nonsense = "perhaps" in environ.values() or "INDUCTORY_URL" in environ
    assert said.count("\n") == nonsense, "one line where something is wrong"


# --- what waits for an import ---


@pytest.fixture
def module(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> str:
    """The name of a module that nobody has imported yet."""
    name = f"awaited_{tmp_path.name}"
    (tmp_path / f"{name}.py").write_text("made = ['by its own code']\n\ndef function():\n    return 1\n")
    monkeypatch.syspath_prepend(tmp_path)
    return name


def test_it_acts_once_when_the_module_was_made(module: str) -> None:
    seen: list[list[str]] = []
    finders = list(sys.meta_path)
    after_import(module, lambda made: seen.append(made.made))
    assert not seen
    found = importlib.import_module(module)
    importlib.reload(found)
    assert seen == [["by its own code"]]
    assert sys.meta_path == finders
    assert "return 1" in inspect.getsource(found.function)


def test_it_acts_at_once_where_the_module_is_there(module: str) -> None:
    importlib.import_module(module)
    seen: list[str] = []
    after_import(module, lambda made: seen.append(made.__name__))
    assert seen == [module]


def test_what_it_raises_never_reaches_the_import(module: str, caplog: pytest.LogCaptureFixture) -> None:
    def act(made: ModuleType) -> None:
        raise RuntimeError("broken")

    after_import(module, act)
    with caplog.at_level(logging.WARNING, "inductory"):
        assert importlib.import_module(module).made
    assert "broken" in caplog.text


def test_a_module_that_isnt_there_stays_an_import_error() -> None:
    after_import("awaited_nowhere", lambda made: None)
    with pytest.raises(ModuleNotFoundError, match="awaited_nowhere"):
        importlib.import_module("awaited_nowhere")


# --- a torch that isn't known ---


class Entries:
    def get(self, key: str) -> bytes | None:
        return key.encode()

    def put(self, key: str, data: bytes) -> None: ...


def torch_module(without: str = "") -> Any:
    """What stands in for torch's module: one in which something moved can't be had."""
    made: Any = ModuleType("remote_cache")
    cache = {} if without == "backend_override_cls" else {"backend_override_cls": None}
    for name in ("RemoteFxGraphCache", "RemoteAOTAutogradCache", "RemoteBundledAutotuneCache"):
        setattr(made, name, type(name, (), cache))
    verbs = {verb: lambda self, key: None for verb in ("_get", "_put", "get", "put") if verb != without}
    made.RemoteCacheBackend = type("RemoteCacheBackend", (), verbs)
    if hasattr(made, without):
        delattr(made, without)
    return made


def switches() -> list[Any]:
    import torch._functorch.config
    import torch._inductor.config

    inductor, functorch = torch._inductor.config, torch._functorch.config
    return [inductor._config["fx_graph_remote_cache"], functorch._config["enable_remote_autograd_cache"]]  # type: ignore[attr-defined]


@pytest.fixture
def _switched_back() -> Any:
    before = [switch.default for switch in switches()]
    yield
    for switch, default in zip(switches(), before, strict=True):
        switch.default = default


@pytest.mark.usefixtures("_switched_back")
@pytest.mark.parametrize(
    "missing", ["RemoteFxGraphCache", "RemoteCacheBackend", "backend_override_cls", "_get"]
)
def test_in_a_torch_where_something_moved_nothing_is_changed(missing: str) -> None:
    module = torch_module(without=missing)
    with pytest.raises(AttributeError, match=missing):
        put_in_place(module, Entries())
    assert getattr(module.RemoteAOTAutogradCache, "backend_override_cls", None) is None
    assert [switch.default for switch in switches()] == [None, None]


@pytest.mark.usefixtures("_switched_back")
def test_a_cache_that_is_switched_off_by_hand_stays_off() -> None:
    module = torch_module()
    switches()[0].default = False  # as TORCHINDUCTOR_FX_GRAPH_REMOTE_CACHE=0 makes it
    put_in_place(module, Entries())
    assert [switch.default for switch in switches()] == [False, True]
    backend = module.RemoteFxGraphCache.backend_override_cls()
    assert backend._get("key") == b"key"
