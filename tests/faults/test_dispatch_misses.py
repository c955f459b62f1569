"""What a dispatch wasn't made for is captured as ever: never another's numbers, and never an exception."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from inductory_client.ahead import Ahead
from inductory_client.graph import factors
from torch_dispatch import Package, published, same, started, values


@pytest.fixture
def package(tmp_path: Path) -> Package:
    return Package(tmp_path / "source")


@pytest.fixture
def machine(package: Package, tmp_path: Path) -> Path:
    """A machine that captured and published the model's first call."""
    folder = tmp_path / "machine"
    published(package, folder)
    return folder


def test_a_start_with_other_weights_captures_nothing(package: Package, machine: Path) -> None:
    model = package.model(seed=7)
    with started(model, machine) as start:
        found = start.forward(values())
        assert same(found, model(values()))
        assert start.captured == [False]
        assert not start.warnings
    assert not torch.equal(found.hidden, package.model()(values()).hidden)


def test_an_edited_model_is_another_model(package: Package, machine: Path) -> None:
    package.edit(package.name, "* (3 if", "* 0.5 * (3 if")
    model = package.model()
    with started(model, machine) as start:
        assert same(start.forward(values()), model(values()))
        assert start.captured == [True]


def test_an_edited_helper_is_told_by_name(package: Package, machine: Path) -> None:
    """No class of the model stands in that file: the key is the same, and what was traced isn't."""
    package.edit(package.helper, "alpha=alpha", "alpha=2 * alpha")
    model = package.model()
    with started(model, machine) as start:
        assert same(start.forward(values()), model(values()))
        assert start.captured == [True]
        assert any(f"the source of {package.helper} is another one" in text for text in start.warnings)


def double(module: Any, args: Any, output: torch.Tensor) -> torch.Tensor:
    return output * 2


def test_a_hook_before_the_first_call_runs(package: Package, machine: Path) -> None:
    model = package.model()
    model.layers[1].register_forward_hook(double)
    with started(model, machine) as start:
        assert same(start.forward(values()), model(values()))
        assert start.captured == [True]
        assert start.dispatches == [None], "nor is it published"


def test_a_hook_after_the_first_call_runs_and_its_removal_is_seen(package: Package, machine: Path) -> None:
    model = package.model()
    with started(model, machine) as start:
        plain = start.forward(values()).hidden
        handle = model.layers[0].second.register_forward_pre_hook(lambda module, args: None)
        handle.remove()
        start.forward(values())
        assert start.captured == [False], "a hook that is gone changes nothing"
        handle = model.layers[1].register_forward_hook(double)
        hooked = start.forward(values()).hidden
        assert same(hooked, model(values()).hidden)
        assert not torch.allclose(hooked, plain)
        handle.remove()
        assert torch.equal(start.forward(values()).hidden, plain)
        assert start.captured == [False, True]


def test_a_part_with_a_hook_put_in_later_is_seen(package: Package, machine: Path) -> None:
    """The handle was made before the first call, on a module that was no part of the model then."""
    model, other = package.model(), package.model(seed=3)
    other.layers[0].register_forward_hook(double)
    with started(model, machine) as start:
        start.forward(values())
        model.layers[0] = other.layers[0]
        assert same(start.forward(values()), model(values()))
        assert start.captured == [False, True]


def test_a_hook_on_every_module_runs(package: Package, machine: Path) -> None:
    model = package.model()
    with started(model, machine) as start:
        start.forward(values())
        handle = torch.nn.modules.module.register_module_forward_hook(_double_blocks)
        try:
            assert same(start.forward(values()), model.forward(values()))
        finally:
            handle.remove()
        assert start.captured == [False, True]


def _double_blocks(module: Any, args: Any, output: Any) -> Any:
    return output * 2 if type(module).__name__ == "Block" else None


CHANGES: dict[str, Callable[[Any, Any], Any]] = {
    "alpha": lambda package, model: package.model(alpha=0.125),
    "layers": lambda package, model: package.model(layers=3),
    "dtype": lambda package, model: model.to(torch.float64),
    "training": lambda package, model: model.train(),
    "requires_grad": lambda package, model: model.requires_grad_(False),
}


@pytest.mark.parametrize("change", CHANGES)
def test_another_model_is_captured(package: Package, machine: Path, change: str) -> None:
    model = CHANGES[change](package, package.model())
    x = values().to(model.layers[0].first.weight.dtype)
    with started(model, machine) as start:
        assert same(start.forward(x), model(x))
        assert start.captured == [True]


@pytest.mark.parametrize("change", ["alpha", "training", "requires_grad", "attention"])
def test_a_model_that_changes_after_the_first_call_is_captured_anew(
    package: Package, machine: Path, change: str
) -> None:
    model = package.model()
    with started(model, machine) as start:
        start.forward(values())
        if change == "alpha":
            model.config.alpha = 0.25
        elif change == "attention":
            package.module.ATTENTION["plain"] = package.module.attend_to_none
        else:
            CHANGES[change](package, model)
        assert same(start.forward(values()), model(values()))
        # Without gradients it decides nothing which weights want some, and torch 2.11 doesn't ask.
        assert start.captured in ([False, True], [False] if change == "requires_grad" else None)


def test_another_attention_function_is_told(package: Package, machine: Path) -> None:
    package.module.ATTENTION["plain"] = package.module.attend_to_none
    model = package.model()
    with started(model, machine) as start:
        assert same(start.forward(values()), model(values()))
        assert start.captured == [True]
        assert any("ATTENTION" in text and "attend_to_none" in text for text in start.warnings)


CALLS: dict[str, Callable[[], tuple[Any, dict[str, Any]]]] = {
    "batch": lambda: (values(batch=3), {}),
    "tokens": lambda: (values(tokens=9), {}),
    "mask": lambda: (values(), {"mask": torch.ones(1, 1, 6, 6, dtype=torch.bool).tril()}),
    "keyword": lambda: (values(), {"plain": True}),
    "strides": lambda: (values(6, 2).transpose(0, 1), {}),
}


@pytest.mark.parametrize("when", ["at first", "later"])
@pytest.mark.parametrize("call", CALLS)
def test_another_call_is_captured(package: Package, machine: Path, call: str, when: str) -> None:
    model = package.model()
    x, keywords = CALLS[call]()
    with started(model, machine) as start:
        if when == "later":
            start.forward(values())
        assert same(start.forward(x, **keywords), model(x, **keywords))
        assert start.captured == ([True] if when == "at first" else [False, True])


@pytest.mark.parametrize("when", ["at first", "later"])
def test_another_mode_is_captured(package: Package, machine: Path, when: str) -> None:
    model = package.model().requires_grad_(False)
    published_model = package.model()
    for mode in (torch.enable_grad(), torch.inference_mode(), torch.autocast("cpu", dtype=torch.bfloat16)):
        with started(published_model if when == "later" else model, machine) as start:
            if when == "later":
                start.forward(values())
                published_model.requires_grad_(False)
            with mode:
                assert same(start.forward(values()), model(values()))
            assert start.captured[-1] is True
            published_model.requires_grad_(True)


def test_gradients_are_left_to_torch(package: Package, machine: Path) -> None:
    model = package.model()
    with started(model, machine) as start:
        start.forward(values())
        with torch.enable_grad():
            found = start.forward(values()).hidden
            found.sum().backward()
        assert found.requires_grad
        assert model.layers[0].first.weight.grad is not None
        assert any("gradients are wanted" in text for text in start.warnings)


def test_another_torch_is_another_target(
    package: Package, machine: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    other = factors._software() | {"torch.version": "0.0.0"}
    monkeypatch.setattr(factors, "_SOFTWARE", Ahead(lambda: other))
    model = package.model()
    with started(model, machine) as start:
        assert same(start.forward(values()), model(values()))
        assert start.captured == [True]
