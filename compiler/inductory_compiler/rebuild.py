"""Rebuilding a graph from its canonical form, ready to compile.

Every compile starts here, on the node that missed as on a worker: what is compiled is what is keyed.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import torch
import torch.fx
from inductory_client.graph import torch_private
from inductory_client.graph.canonical import FORM_VERSION, Form
from inductory_client.graph.decoding import GraphDecoder, named_constant
from inductory_client.graph.expressions import decode
from inductory_client.graph.unsupported import Unsupported


@dataclass(frozen=True)
class Rebuilt:
    """A graph with example values on its nodes, the inputs that it takes, and the world that both live in."""

    module: torch.fx.GraphModule
    inputs: list[Any]
    env: torch_private.ShapeEnv
    symbols: dict[str, Any]


def rebuild(form: Form, device: int | None = None) -> Rebuilt:
    """Rebuild the graph that `form` describes, on the GPU of index `device` if it is for one.

    Raises Unsupported for what isn't a form of this version.
    """
    if form.get("version") != FORM_VERSION:
        raise Unsupported(f"the graph's form is of version {form.get('version')!r}, not {FORM_VERSION}")
    try:
        module, inputs, mode, symbols = _decode(form, device)
    except (LookupError, TypeError, ValueError, AttributeError, RuntimeError, AssertionError) as error:
        raise Unsupported(f"the graph's form is malformed: {type(error).__name__}: {error}") from error
    torch_private.propagate(module, inputs, mode)
    assert mode.shape_env is not None
    return Rebuilt(module, inputs, mode.shape_env, symbols)


def _decode(
    form: Form, device: int | None
) -> tuple[torch.fx.GraphModule, list[Any], torch_private.FakeTensorMode, dict[str, Any]]:
    """Turn plain data into a graph. Only names are looked up, in allow-lists; nothing of it is run."""
    ranges = [(s["name"], s["range"][0], s["range"][1], s["hint"]) for s in form["symbols"]]
    mode, symbols, size = torch_private.fake_inputs(ranges)
    env = mode.shape_env
    assert env is not None
    for guard in form["guards"]:
        torch_private.holds(env, decode(guard, symbols))

    def sized(encoded: Any) -> Any:
        return size(decode(encoded, symbols))

    with mode:
        inputs = [_input(encoded, sized, device) for encoded in form["inputs"]]
    module = GraphDecoder(form, sized).module()
    if device is not None:
        _name_gpu(module, device)
    return module, inputs, mode, symbols


def _on_gpu(place: torch.device, index: int | None) -> torch.device:
    """Say which GPU is meant where a form says only that it is one.

    Not by making it the current one: fake tensors are remembered by what was asked for, whichever that was.
    """
    return torch.device("cuda", index) if place == torch.device("cuda") and index is not None else place


def _name_gpu(module: torch.fx.GraphModule, index: int) -> None:
    def named(value: Any) -> Any:
        return _on_gpu(value, index) if isinstance(value, torch.device) else value

    for node in module.graph.nodes:
        node.args = torch.fx.node.map_aggregate(node.args, named)
        node.kwargs = torch.fx.node.map_aggregate(node.kwargs, named)
    module.recompile()


def _input(encoded: Any, sized: Any, index: int | None) -> Any:
    if "size" in encoded:
        return sized(encoded["size"])
    shape = [sized(length) for length in encoded["shape"]]
    stride = [sized(step) for step in encoded["stride"]]
    offset = sized(encoded["offset"])
    dtype, device = named_constant("dtype", encoded["dtype"]), _on_gpu(torch.device(encoded["device"]), index)
    if type(offset) is int and offset == 0:
        return torch.empty_strided(shape, stride, dtype=dtype, device=device)
    span = 1 + sum((length - 1) * step for length, step in zip(shape, stride, strict=True))
    return torch.empty(span + offset, dtype=dtype, device=device).as_strided(shape, stride, offset)
