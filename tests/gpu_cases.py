"""Graphs for a GPU: captured on the CPU, and moved."""

from __future__ import annotations

import json
from collections.abc import Callable
from typing import Any, NamedTuple

import torch
from inductory_client.graph.canonical import Form
from torch.nn import functional
from torch_capturing import captured_graph

HALF = torch.bfloat16


class GpuCase(NamedTuple):
    """What is computed, and on what; `rows` marks the first dimension of the first input as dynamic."""

    function: Callable[..., Any]
    inputs: Callable[[int], tuple[torch.Tensor, ...]]
    """Takes how many rows."""
    dynamic: bool = False
    on_host: tuple[int, ...] = ()
    """Which inputs stay on the CPU."""


def norm(x: torch.Tensor, weight: torch.Tensor, project: torch.Tensor) -> tuple[torch.Tensor, ...]:
    """A reduction, a product that is left to a library, and what follows it in place."""
    normed = functional.rms_norm(x, (64,), weight)
    return functional.silu(normed @ project) * 2, normed.float().sum(-1)


def tall(x: torch.Tensor) -> torch.Tensor:
    """More blocks along y than a grid has: they go on along z."""
    return x.t().contiguous() * 2


def rows(ids: torch.Tensor, table: torch.Tensor) -> tuple[torch.Tensor, ...]:
    """Indices, something that is made on the device, and a view."""
    places = torch.arange(ids.shape[0], device=ids.device)
    return functional.embedding(ids, table) + places[:, None], ids.view(1, -1)


def scaled(x: torch.Tensor, by: torch.Tensor) -> torch.Tensor:
    """A number of the host's, which goes to the kernel by value."""
    return x * by


def both(x: torch.Tensor, y: torch.Tensor) -> tuple[torch.Tensor, ...]:
    """A kernel of the host's beside one of the device's."""
    return x * 2, y.relu()


def total(x: torch.Tensor) -> torch.Tensor:
    """A reduction in two steps."""
    return (x.float() * 3).sum()


@torch.library.custom_op("gpu_cases::fresh", mutates_args=())
def fresh(x: torch.Tensor, device: torch.device) -> torch.Tensor:
    return torch.ones_like(x)


@fresh.register_fake
def _(x: torch.Tensor, device: torch.device) -> torch.Tensor:
    return torch.empty_like(x)


def told(x: torch.Tensor) -> torch.Tensor:
    """An operator that isn't compiled, and is told a device."""
    return fresh(x, x.device) * 2


def with_constant(x: torch.Tensor) -> torch.Tensor:
    """Numbers that the code carries with it."""
    return x + torch.tensor([float(number) for number in range(12)], device=x.device)


CASES: dict[str, GpuCase] = {
    "norm": GpuCase(
        norm,
        lambda n: (
            torch.ones(n, 64, dtype=HALF),
            torch.ones(64, dtype=HALF),
            torch.ones(64, 128, dtype=HALF),
        ),
        dynamic=True,
    ),
    "tall": GpuCase(tall, lambda n: (torch.ones(24, 200_000, dtype=HALF),)),
    "rows": GpuCase(
        rows,
        lambda n: (torch.zeros(n, dtype=torch.int64), torch.ones(100, 32, dtype=HALF)),
        dynamic=True,
    ),
    "scaled": GpuCase(
        scaled, lambda n: (torch.ones(16, 4), torch.tensor(2.5, dtype=torch.float64)), on_host=(1,)
    ),
    "both": GpuCase(both, lambda n: (torch.ones(16, 4), torch.ones(64, 64)), on_host=(1,)),
    "total": GpuCase(total, lambda n: (torch.ones(1_000_003, dtype=HALF),)),
    "told": GpuCase(told, lambda n: (torch.ones(16, 4),)),
    "with_constant": GpuCase(with_constant, lambda n: (torch.ones(16, 12),)),
}


def form_of(name: str) -> Form:
    """Return the canonical form of a case's one piece, on a GPU."""
    case = CASES[name]
    inputs = case.inputs(64)
    if case.dynamic:
        torch._dynamo.mark_dynamic(inputs[0], 0, min=4, max=4096)
    (piece,) = captured_graph(case.function, *inputs).pieces
    moved: Form = json.loads(json.dumps(piece.canonical.form).replace('"device": "cpu"', '"device": "cuda"'))
    for place in case.on_host:
        moved["inputs"][place]["device"] = "cpu"
    return moved
