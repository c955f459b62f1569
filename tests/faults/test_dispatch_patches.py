"""Methods and functions that were replaced: a file's digest doesn't tell, and numbers must be right."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import nn
from torch_dispatch import Package, same, started, values

PATCHES = """
def forward(self, x, mask):
    return x * 0.5

def called(self, *args, **kwargs):
    return self.forward(*args, **kwargs) * 2

def linear(self, x):
    return x * 2

def twice(x):
    return x * 2

def more(x, y):
    return x * y * 3
"""


@pytest.fixture
def package(tmp_path: Path) -> Package:
    return Package(tmp_path / "source", PATCHES)


Patch = Callable[[pytest.MonkeyPatch, Package, Any], None]
REPLACED: dict[str, Patch] = {
    "a method": lambda m, p, model: m.setattr(p.module.Block, "forward", p.helpers.forward),
    "a method that was inherited": lambda m, p, model: m.setattr(
        p.module.Block, "__call__", p.helpers.called, raising=False
    ),
    "a method of torch's": lambda m, p, model: m.setattr(nn.Linear, "forward", p.helpers.linear),
    "a method of an instance": lambda m, p, model: m.setattr(
        model.layers[1].first, "forward", p.helpers.twice
    ),
    "how an instance is called": lambda m, p, model: m.setattr(
        model.layers[1].first, "_call_impl", p.helpers.twice
    ),
    "a method of an argument": lambda m, p, model: m.setattr(p.module.Scale, "times", p.helpers.linear),
    "an attribute of a class": lambda m, p, model: m.setattr(p.module.Block, "factor", 3.0),
    "a function of torch's": lambda m, p, model: m.setattr(torch, "mul", p.helpers.more),
    "defaults": lambda m, p, model: m.setattr(p.module.attend, "__defaults__", (4.0,)),
    "an enumeration's member": lambda m, p, model: m.setattr(model.config, "kind", p.module.Kind.OTHER),
}


def outcome(package: Package, model: Any, folder: Path) -> list[bool]:
    """Start and call; the numbers are right. Return what was captured."""
    scale = package.module.Scale()
    with started(model, folder) as start:
        assert same(start.forward(values(), scale=scale), model(values(), scale=scale))
        return start.captured


@pytest.mark.parametrize("replaced", REPLACED)
def test_what_was_replaced_is_seen_by_all(package: Package, tmp_path: Path, replaced: str) -> None:
    """By the process that loads, and by the one that published."""
    for name, patched in (("plain", False), ("patched", True)):
        outcomes = []
        for here in (patched, not patched):
            model = package.model()
            with pytest.MonkeyPatch.context() as patch:
                if here:
                    REPLACED[replaced](patch, package, model)
                outcomes.append(outcome(package, model, tmp_path / name))
        assert outcomes == [[True], [True]], name
