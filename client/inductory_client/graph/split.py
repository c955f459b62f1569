"""Splitting a captured graph at attention: what lies between becomes pieces, equal from layer to layer."""

from __future__ import annotations

import operator
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import torch
import torch.fx
from torch.fx.passes.split_module import split_module

from . import torch_private
from .canonical import example_inputs
from .unsupported import Unsupported

SPLITTING_OPS = (
    "torch.nn.functional.scaled_dot_product_attention",
    "aten::scaled_dot_product_attention",
    "flex_attention",
    "vllm::unified_attention",
    "vllm::unified_attention_with_output",
    "vllm::unified_kv_cache_update",
    "flash_attn::_flash_attn_forward",
    "flash_attn::_flash_attn_varlen_forward",
)
"""Where graphs are split unless told otherwise: SDPA, FlexAttention, and the attention ops that engines
register.
"""


@dataclass(frozen=True)
class Part:
    """A part of the split graph."""

    index: int
    """Its submodule index: its place in the split, attention included."""
    name: str
    """What the outer graph calls it: `submod_3`."""
    module: torch.fx.GraphModule
    attention: bool

    def inputs(self) -> list[Any]:
        """Return the fake inputs that the part was captured with."""
        return example_inputs(self.module)


@dataclass(frozen=True)
class Split:
    """A graph that calls its parts, and the parts."""

    outer: torch.fx.GraphModule
    parts: tuple[Part, ...]

    @property
    def pieces(self) -> tuple[Part, ...]:
        """The parts that are compiled."""
        return tuple(part for part in self.parts if not part.attention)


def split_graph(module: torch.fx.GraphModule, splitting_ops: Sequence[str] = ()) -> Split:
    """Split `module` at attention and at the ops named in `splitting_ops`. Raises Unsupported.

    A graph with no attention becomes one piece. `module` itself stays as it is.
    """
    split_at = frozenset(SPLITTING_OPS) | frozenset(splitting_ops)
    places, attention = _places(module, split_at)
    try:
        outer = split_module(module, None, places.__getitem__, keep_original_order=True)  # type: ignore[arg-type]
    except Exception as error:
        raise Unsupported(f"the graph can't be split: {error}") from error
    parts = tuple(_parts(outer, attention))
    return Split(outer, parts)


def is_splitting(node: torch.fx.Node, split_at: frozenset[str]) -> bool:
    return node.op == "call_function" and any(name in split_at for name in _spellings(node.target))


def _spellings(target: Any) -> Iterator[str]:
    """Yield what a list of splitting ops may call `target`."""
    if isinstance(target, torch_private.OpOverload):
        yield f"{target.namespace}::{target.__name__}"
        yield f"{target.namespace}::{target.__name__.partition('.')[0]}"
    elif isinstance(target, torch_private.OpOverloadPacket):
        yield torch_private.packet_name(target)
    elif target is torch.nn.functional.scaled_dot_product_attention:
        yield SPLITTING_OPS[0]
    else:
        yield getattr(target, "__name__", "")
        yield f"{getattr(target, '__module__', '')}.{getattr(target, '__qualname__', '')}"


def _places(
    module: torch.fx.GraphModule, split_at: frozenset[str]
) -> tuple[dict[torch.fx.Node, int], set[int]]:
    """Number the parts: each node's part, and which parts are attention."""
    places: dict[torch.fx.Node, int] = {}
    attention: set[int] = set()
    arguments: list[torch.fx.Node] = []
    place, begun = 0, False
    for node in module.graph.nodes:
        if node.op in ("placeholder", "output"):
            continue
        if is_splitting(node, split_at):
            place += begun
            places[node] = place
            attention.add(place)
            place, begun = place + 1, False
        elif _is_output_of(node, places, attention):
            # An op that returns several tensors is unpacked in its own part: parts exchange tensors only.
            places[node] = places[node.all_input_nodes[0]]
        elif node.op == "get_attr" and _only_used_by(node, split_at):
            arguments.append(node)
        else:
            places[node], begun = place, True
    # A sub-graph that attention takes (FlexAttention's score and mask functions) goes where it is used.
    places.update({node: places[next(iter(node.users))] for node in arguments})
    return places, attention


def _is_output_of(node: torch.fx.Node, places: dict[torch.fx.Node, int], attention: set[int]) -> bool:
    """Whether `node` takes one output of the several that attention returns."""
    return node.target is operator.getitem and places.get(node.all_input_nodes[0], -1) in attention


def _only_used_by(node: torch.fx.Node, split_at: frozenset[str]) -> bool:
    return bool(node.users) and all(is_splitting(user, split_at) for user in node.users)


def _parts(outer: torch.fx.GraphModule, attention: set[int]) -> Iterator[Part]:
    for index, node in enumerate(node for node in outer.graph.nodes if node.op == "call_module"):
        name = str(node.target)
        place = int(name.rpartition("_")[2])
        yield Part(index, name, getattr(outer, name), place in attention)
