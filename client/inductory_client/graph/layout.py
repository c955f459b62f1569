"""Layouts: what attention returns, laid out as the piece behind it was compiled for.

SDPA chooses its implementation a call, and with it the strides of what it returns; so may an engine's op. The
next piece's code has the captured strides in it, and asserts them.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import torch
import torch.fx

from . import torch_private
from .canonical import returns_bare

Order = tuple[int, ...]
"""A tensor's dimensions, from the one with the largest stride to the one with the smallest."""


def keep_layout(module: torch.fx.GraphModule) -> Callable[..., Any]:
    """Return `module`'s forward, with outputs copied into the layout that they were captured with if need
    be.
    """
    return keep_orders(module.forward, output_orders(module), returns_bare(module))


def output_orders(module: torch.fx.GraphModule) -> list[Order | None]:
    """Return the orders that `module`'s outputs were captured with; None where one has none."""
    (outputs,) = next(node for node in module.graph.nodes if node.op == "output").args
    return [_dense_order(_example(node)) for node in ((outputs,) if returns_bare(module) else outputs)]


def keep_orders(
    forward: Callable[..., Any], orders: Sequence[Order | None], bare: bool
) -> Callable[..., Any]:
    """Return `forward` with outputs of these orders; `bare`: it returns one tensor, and no tuple."""
    if not any(orders):
        return forward

    def laid_out(*inputs: Any) -> Any:
        values = forward(*inputs)
        if bare:
            return _laid_out(values, orders[0])
        return tuple(_laid_out(value, order) for value, order in zip(values, orders, strict=True))

    return laid_out


def _example(node: Any) -> Any:
    return node.meta.get("example_value") if isinstance(node, torch.fx.Node) else None


def _dense_order(value: Any) -> Order | None:
    """Return the order of a tensor's dimensions if it fills its memory without gaps; None otherwise."""
    if not isinstance(value, torch.Tensor) or not value.ndim:
        return None
    sizes = [torch_private.hint_of(size) for size in value.shape]
    strides = [torch_private.hint_of(stride) for stride in value.stride()]
    order = tuple(sorted(range(value.ndim), key=lambda place: (strides[place], sizes[place]), reverse=True))
    return order if _matches(strides, _strides(sizes, order), sizes) else None


def _strides(sizes: Sequence[int], order: Order) -> list[int]:
    """Return the strides of a tensor without gaps whose dimensions lie in memory in this order."""
    strides, step = [0] * len(sizes), 1
    for place in reversed(order):
        strides[place] = step
        step *= sizes[place]
    return strides


def _matches(strides: Sequence[int], wanted: Sequence[int], sizes: Sequence[int]) -> bool:
    """Whether strides agree; those of dimensions of size 1 don't matter."""
    return all(a == b for a, b, size in zip(strides, wanted, sizes, strict=True) if size != 1)


def _laid_out(value: Any, order: Order | None) -> Any:
    if order is None or not isinstance(value, torch.Tensor) or value.ndim != len(order):
        return value
    sizes = value.shape
    wanted = _strides(sizes, order)
    if _matches(value.stride(), wanted, sizes):
        return value
    copy = torch.empty_strided(sizes, wanted, dtype=value.dtype, device=value.device)
    return copy.copy_(value)
