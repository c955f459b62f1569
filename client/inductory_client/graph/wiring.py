"""Wiring: the outer graph, with compiled code where its pieces were."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

from . import torch_private
from .canonical import returns_bare
from .layout import keep_layout
from .load import LoadedPiece
from .split import Part, Split
from .torch_stock import stock_compile


def wire(split: Split, calls: Mapping[str, LoadedPiece]) -> Callable[..., Any]:
    """Return the captured graph's callable, running `calls`, by the parts' names, and attention as it was
    captured.

    `split.outer` is taken over.
    """
    for part in split.parts:
        call = _attention(part) if part.attention else _piece(part, calls[part.name])
        # Out of the modules and into the instance: torch.nn.Module looks there first, and at no cost.
        split.outer.__dict__["_modules"].pop(part.name)
        split.outer.__dict__[part.name] = call
    return split.outer.forward


def _piece(part: Part, call: LoadedPiece) -> Callable[..., Any]:
    if not returns_bare(part.module):
        return call

    def bare(*inputs: Any) -> Any:
        return call(*inputs)[0]

    return bare


def _attention(part: Part) -> Callable[..., Any]:
    """Return what runs attention: the op itself; a higher-order op (FlexAttention) is stock Inductor's to
    compile.
    """
    targets = (node.target for node in part.module.graph.nodes if node.op == "call_function")
    if any(torch_private.higher_order_op_name(target) is not None for target in targets):
        return stock_compile(part.module, part.inputs(), {})  # type: ignore[no-any-return]
    return keep_layout(part.module)
