"""Starts by `inductory_client.load` in the tests' own process, of a model that takes no C++ compiler."""

from __future__ import annotations

import importlib
import itertools
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import torch
from client_samples import settings as settings_in
from inductory_client.graph.dispatch.loaded_model import LoadedModel
from inductory_client.graph.report import GraphReport
from inductory_client.graph.session import Session
from torch_sessions import warned

HELPER = """
import torch

def mixed(x, y, weight, alpha):
    flat = torch.addmm(x.reshape(-1, x.shape[-1]), y.reshape(-1, x.shape[-1]), weight, alpha=alpha)
    return flat.reshape(x.shape)
"""

MODEL = """
import enum
from dataclasses import dataclass

import torch
from torch import nn
from torch.nn.functional import scaled_dot_product_attention

from {helper} import mixed


class Kind(enum.Enum):
    ONE = 1
    OTHER = 2


@dataclass
class Output:
    hidden: torch.Tensor


class Config:
    def __init__(self, layers=2, alpha=0.5):
        self.layers, self.alpha, self.attention, self.kind = layers, alpha, "plain", Kind.ONE

    def to_dict(self):
        return {{name: value for name, value in vars(self).items() if name != "kind"}}


class Scale:
    def times(self, x):
        return x * 0.5


def attend(x, mask, factor=1.0):
    heads = x[:, None] * factor
    return scaled_dot_product_attention(heads, heads, heads, attn_mask=mask)[:, 0]


def attend_to_none(x, mask):
    return x


ATTENTION = {{"plain": attend}}


class Block(nn.Module):
    factor = 1.0

    def __init__(self, config, width=16):
        super().__init__()
        self.config = config
        self.first, self.second = nn.Linear(width, width), nn.Linear(width, width)

    def forward(self, x, mask):
        attended = ATTENTION[self.config.attention](self.first(x), mask)
        alpha = self.config.alpha * (3 if self.training else 1)
        mixture = mixed(x, attended, self.second.weight, alpha)
        return mixture * self.factor if self.config.kind is Kind.ONE else mixture


class Model(nn.Module):
    def __init__(self, config):
        super().__init__()
        self.config = config
        self.layers = nn.ModuleList(Block(config) for _ in range(config.layers))

    def forward(self, x, *, mask=None, plain=False, scale=None, **more):
        for layer in self.layers:
            x = layer(x, mask)
        if scale is not None:
            x = torch.mul(scale.times(x), 1.5)
        for number in more.values():
            x = x * 2 + number
        return x if plain else Output(x)
"""

_numbers = itertools.count()


class Package:
    """A model's source, in files that can be edited; each has module names of its own."""

    def __init__(self, folder: Path, helpers: str = "") -> None:
        number = next(_numbers)
        self.name, self.helper = f"dispatched_model_{number}", f"dispatched_helper_{number}"
        self._folder = folder
        folder.mkdir(exist_ok=True)
        (folder / f"{self.helper}.py").write_text(HELPER + helpers)
        (folder / f"{self.name}.py").write_text(MODEL.format(helper=self.helper))
        if str(folder) not in sys.path:
            sys.path.append(str(folder))

    def edit(self, module: str, old: str, new: str) -> None:
        """Change a file, and have it imported again as a fresh process would."""
        path = self._folder / f"{module}.py"
        text = path.read_text()
        assert old in text
        path.write_text(text.replace(old, new))
        for name in (self.name, self.helper):
            sys.modules.pop(name, None)
        importlib.invalidate_caches()

    @property
    def module(self) -> Any:
        return importlib.import_module(self.name)

    @property
    def helpers(self) -> Any:
        return importlib.import_module(self.helper)

    def model(self, seed: int = 0, **config: Any) -> Any:
        torch.manual_seed(seed)
        return self.module.Model(self.module.Config(**config)).eval()


def values(batch: int = 2, tokens: int = 6) -> torch.Tensor:
    return torch.linspace(-1, 1, batch * tokens * 16).view(batch, tokens, 16)


@dataclass
class Started:
    """A start: what was loaded, and what became of it."""

    forward: LoadedModel
    session: Session
    warnings: list[str] = field(default_factory=list)

    @property
    def reports(self) -> list[GraphReport]:
        return list(self.session.reports)

    @property
    def captured(self) -> list[bool]:
        """Of each graph, in order, whether Dynamo captured it."""
        return [report.captured for report in self.reports]

    @property
    def dispatches(self) -> list[str | None]:
        return [report.dispatch for report in self.reports]


@contextmanager
def started(
    model: Any, folder: Path, lengths: Any = None, patches: dict[str, Any] | None = None, **options: Any
) -> Iterator[Started]:
    """Load `model` on a machine whose files lie in `folder`; all is published when the block ends."""
    session = Session(settings_in(folder, **{"drain_s": 60.0, **options}))
    torch._dynamo.reset()
    try:
        with warned() as warnings, torch.no_grad():
            yield Started(LoadedModel(model, session, patches or {}, lengths or {}), session, warnings)
    finally:
        session.client.close()


def same(found: Any, expected: Any) -> bool:
    """Whether two outputs are close, and of one kind."""
    if type(found).__name__ != type(expected).__name__:
        return False
    one, other = getattr(found, "hidden", found), getattr(expected, "hidden", expected)
    return one.dtype == other.dtype and torch.allclose(one, other, rtol=2e-2, atol=1e-2)


def published(package: Package, folder: Path, call: Callable[[LoadedModel], Any] | None = None) -> None:
    """Capture and publish the model's call on `values()`, or `call`, on the machine in `folder`."""
    with started(package.model(), folder) as start:
        (call or (lambda forward: forward(values())))(start.forward)
        assert all(start.captured)
        assert all(start.dispatches), start.warnings
