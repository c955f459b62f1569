"""Models and functions that are compiled in one process and loaded in another, by name."""

from __future__ import annotations

import hashlib
from collections.abc import Callable
from typing import Any

import torch
from torch.nn.functional import silu
from torch_models import Case, attend, decoder, heads, token_ids, values


@torch.library.custom_op("inductory_cases::attend", mutates_args=())
def custom_attend(x: torch.Tensor) -> torch.Tensor:
    """Attention as an engine registers it."""
    return attend(x)


@custom_attend.register_fake
def _(x: torch.Tensor) -> torch.Tensor:
    return torch.empty_like(x)


SPLITTING_OPS = ("inductory_cases::attend",)


def layers() -> Case:
    """Three pieces, dynamic length."""
    return decoder(), (token_ids(16),)


def layers_at_length() -> Case:
    """The same, first called at a length that Inductor would tune for otherwise."""
    return decoder(), (token_ids(700),)


def bare_tensor() -> Case:
    """A piece that returns one tensor, whose first dimension a careless `[0]` would slice."""
    return (lambda x: silu(x) * 2), (heads(),)


def views() -> Case:
    """Outputs that are views of an input."""

    def function(x: torch.Tensor) -> tuple[torch.Tensor, ...]:
        return x[:, :2], attend(x + 1) * 2, x.view(-1)

    return function, (heads(),)


def written_cache() -> Case:
    """A static cache: an input that pieces write to before and after attention."""

    def function(cache: torch.Tensor, x: torch.Tensor) -> torch.Tensor:
        cache.index_copy_(2, torch.tensor([3]), x[:, :, :1])
        attended = attend(cache)
        cache.mul_(2)
        return attended + x

    return function, (heads().clone(), heads())


def autocast_inside() -> Case:
    """A context that is entered before attention and left after it."""
    weight = values(16, 16)

    def function(x: torch.Tensor) -> tuple[torch.Tensor, ...]:
        with torch.autocast("cpu", dtype=torch.bfloat16):
            projected = x @ weight
            attended = attend(projected) @ weight
        return attended.float() + x, attended

    return function, (heads(),)


def custom_op() -> Case:
    """A custom op to split at, and a size that the pieces on both sides share."""
    x = values(3, 4, 20, 8)
    torch._dynamo.mark_dynamic(x, 2)
    return (lambda x: silu(torch.ops.inductory_cases.attend(x + 1)) + x.shape[2]), (x,)


def graph_break() -> Case:
    """Two graphs of one model."""

    def function(x: torch.Tensor) -> torch.Tensor:
        y = silu(x + 1)
        torch._dynamo.graph_break()
        return attend(y) * 3

    return function, (heads(),)


CASES: dict[str, Callable[[], Case]] = {
    case.__name__: case
    for case in (
        layers,
        layers_at_length,
        bare_tensor,
        views,
        written_cache,
        autocast_inside,
        custom_op,
        graph_break,
    )
}


def outputs(function: Callable[..., Any], inputs: tuple[Any, ...]) -> list[torch.Tensor]:
    """Call `function` on copies of `inputs`; return what it returns, and what it left in its inputs."""
    copies = [x.clone() for x in inputs]
    for copy, x in zip(copies, inputs, strict=True):
        for dimension in getattr(x, "_dynamo_dynamic_indices", ()):
            torch._dynamo.mark_dynamic(copy, dimension)
    with torch.no_grad():
        found = function(*copies)
    return [*(found if isinstance(found, tuple) else (found,)), *copies]


def fingerprint(tensors: list[torch.Tensor]) -> str:
    """Return the digest of tensors' types, shapes and every bit."""
    found = hashlib.sha256()
    for tensor in tensors:
        found.update(f"{tensor.dtype}{tuple(tensor.shape)}{tensor.requires_grad}".encode())
        found.update(tensor.detach().contiguous().view(torch.uint8).numpy().tobytes())
    return found.hexdigest()


def close(found: list[torch.Tensor], expected: list[torch.Tensor]) -> bool:
    """Whether tensors are of one kind, and close as two ways to round are."""
    return len(found) == len(expected) and all(
        a.dtype == b.dtype
        and torch.allclose(a, b, rtol=2e-2, atol=1e-4 if a.dtype == torch.float32 else 5e-2)
        for a, b in zip(found, expected, strict=True)
    )
