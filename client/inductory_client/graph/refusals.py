"""Graphs that must not be touched: told before any work is done, with the reason."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
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
        if node.op == "call_function" and torch_private.names_process_group(node.target):
            raise Unsupported(
                f"the graph calls the collective {node.target}, whose process group would be baked in by name"
            )
    if not any(node.op in ("call_function", "call_method", "call_module") for node in module.graph.nodes):
        raise Unsupported("the graph computes nothing")


def _wants_gradients(module: torch.fx.GraphModule) -> bool:
    """Whether gradients are enabled where the graph is called, or by the graph itself."""
    return torch.is_grad_enabled() or any(
        torch_private.enables_gradients(node.target, node.args) for node in module.graph.nodes
    )


def refuse_aliased_mutation(module: torch.fx.GraphModule, inputs: Sequence[Any]) -> None:
    """Raise Unsupported where a piece writes to an input that shares its memory with another one.

    What is right then depends on how they overlap, which the canonical form doesn't say.
    """
    if not any(True for node in module.graph.nodes for _ in _written(node)):
        return
    storages: dict[Any, int] = {}
    for value in inputs:
        if isinstance(value, torch.Tensor):
            storage = value.untyped_storage()
            storages[storage] = storages.get(storage, 0) + 1
    if any(count > 1 for count in storages.values()):
        raise Unsupported("a piece writes to its inputs, and some of them share memory")


_IN_PLACE = frozenset(["setitem", "iadd", "iand", "ifloordiv", "imul", "ior", "isub", "itruediv", "ixor"])
_IN_PLACE_METHODS = frozenset(f"__{name}__" for name in _IN_PLACE)


def _written(node: torch.fx.Node) -> Iterable[torch.fx.Node]:
    """Yield the nodes whose values `node` may write to."""
    if node.op == "call_method":
        name = str(node.target)
        if name in _IN_PLACE_METHODS or (name.endswith("_") and not name.endswith("__")):
            yield from node.all_input_nodes[:1]
    elif node.op == "call_function":
        name = getattr(node.target, "__name__", "")
        schema = getattr(node.target, "_schema", None)
        in_place = name.endswith("_") or name in _IN_PLACE
        if in_place or "out" in node.kwargs or (schema is not None and schema.is_mutable):
            yield from node.all_input_nodes
