"""Graphs that must not be touched: told before any work is done, with the reason."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch
import torch.fx

from . import torch_private
from .canonical import example_inputs
from .unsupported import Unsupported


def refuse_untouchable(module: torch.fx.GraphModule, inputs: Sequence[Any]) -> None:
    """Raise Unsupported for a graph that can't be split and shared safely."""
    if _wants_gradients(module) and any(isinstance(v, torch.Tensor) and v.requires_grad for v in inputs):
        raise Unsupported(
            "gradients are wanted; call the model under torch.no_grad() or torch.inference_mode()"
        )
    env = torch_private.shape_env_of(example_inputs(module))
    if env is not None and not all(torch_private.is_backed(env, symbol) for symbol in env.var_to_range):
        raise Unsupported("a size depends on data")
    for node in module.graph.nodes:
        if isinstance(node.meta.get("example_value"), torch.SymFloat):
            raise Unsupported("a float varies from call to call (with dynamic=True, each one does)")
        if node.op == "call_function" and torch_private.names_process_group(node.target):
            raise Unsupported(
                f"the graph calls the collective {node.target}, whose process group would be baked in by name"
            )
    if torch_private.freezes_weights():
        raise Unsupported("Inductor is set to freeze weights into the code")
    if not any(node.op in ("call_function", "call_method", "call_module") for node in module.graph.nodes):
        raise Unsupported("the graph computes nothing")


def _wants_gradients(module: torch.fx.GraphModule) -> bool:
    """Whether gradients are enabled where the graph is called, or by the graph itself."""
    return torch.is_grad_enabled() or any(
        torch_private.enables_gradients(node.target, node.args) for node in module.graph.nodes
    )


def refuse_aliased_mutation(inputs: Sequence[Any]) -> None:
    """Raise Unsupported where the graph writes to an input of a piece that shares its memory with another
    one.

    What is right then depends on how they overlap, which the canonical form doesn't say. Whether something is
    written is read off the fake tensors, which Dynamo has run the graph on: names of operations don't tell
    (`relu(x, inplace=True)`).
    """
    sharing: dict[Any, list[torch.Tensor]] = {}
    for value in inputs:
        if isinstance(value, torch.Tensor):
            sharing.setdefault(value.untyped_storage(), []).append(value)
    for tensors in sharing.values():
        if len(tensors) > 1 and any(map(torch_private.was_written, tensors)):
            raise Unsupported("a piece writes to its inputs, and some of them share memory")
