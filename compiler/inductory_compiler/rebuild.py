"""Rebuilding a graph from its canonical form, ready to compile.

Every compile starts here, on the node that missed as on a worker: what is compiled is what is keyed.
"""

from __future__ import annotations

import base64
from dataclasses import dataclass
from typing import Any

import torch
import torch.fx
from inductory_client.graph import torch_private
from inductory_client.graph.canonical import FORM_VERSION, Form
from inductory_client.graph.expressions import decode
from inductory_client.graph.operators import function_by_name, method_name
from inductory_client.graph.unsupported import Unsupported


@dataclass(frozen=True)
class Rebuilt:
    """A graph with example values on its nodes, the inputs that it takes, and the world that both live in."""

    module: torch.fx.GraphModule
    inputs: list[Any]
    env: torch_private.ShapeEnv
    symbols: dict[str, Any]


def rebuild(form: Form) -> Rebuilt:
    """Rebuild the graph that `form` describes. Raises Unsupported for what isn't a form of this version."""
    if form.get("version") != FORM_VERSION:
        raise Unsupported(f"the graph's form is of version {form.get('version')!r}, not {FORM_VERSION}")
    try:
        module, inputs, mode, symbols = _decode(form)
    except (LookupError, TypeError, ValueError, AttributeError, RuntimeError, AssertionError) as error:
        raise Unsupported(f"the graph's form is malformed: {type(error).__name__}: {error}") from error
    torch_private.propagate(module, inputs, mode)
    assert mode.shape_env is not None
    return Rebuilt(module, inputs, mode.shape_env, symbols)


def _decode(
    form: Form,
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
        inputs = [_input(encoded, sized) for encoded in form["inputs"]]
    return _Decoder(form, sized).module(), inputs, mode, symbols


def _input(encoded: Any, sized: Any) -> Any:
    if "size" in encoded:
        return sized(encoded["size"])
    shape = [sized(length) for length in encoded["shape"]]
    stride = [sized(step) for step in encoded["stride"]]
    offset = sized(encoded["offset"])
    dtype, device = _named("dtype", encoded["dtype"]), encoded["device"]
    if type(offset) is int and offset == 0:
        return torch.empty_strided(shape, stride, dtype=dtype, device=device)
    span = 1 + sum((length - 1) * step for length, step in zip(shape, stride, strict=True))
    return torch.empty(span + offset, dtype=dtype, device=device).as_strided(shape, stride, offset)


_KINDS: dict[str, type] = {
    "dtype": torch.dtype,
    "layout": torch.layout,
    "memory_format": torch.memory_format,
}


def _named(kind: str, name: str) -> Any:
    """Return torch's constant of that kind and name; nothing else of torch can be had by name."""
    value = getattr(torch, name, None)
    if not isinstance(value, _KINDS[kind]):
        raise Unsupported(f"{name!r} isn't a {kind}")
    return value


class _Decoder:
    def __init__(self, form: Form, sized: Any) -> None:
        self.form = form
        self.sized = sized
        self.root = torch.nn.Module()
        self.graph = torch.fx.Graph()
        self.nodes: list[torch.fx.Node] = []

    def module(self) -> torch.fx.GraphModule:
        for place in range(len(self.form["inputs"])):
            self.nodes.append(self.graph.placeholder(f"input_{place}"))
        for encoded in self.form["nodes"]:
            self.nodes.append(self._constant(encoded) if isinstance(encoded, dict) else self._node(encoded))
        self.graph.output(tuple(self._argument(self.form["outputs"])))
        return torch.fx.GraphModule(self.root, self.graph)

    def _node(self, encoded: Any) -> torch.fx.Node:
        target, arguments, *rest = encoded
        args = tuple(self._argument(argument) for argument in arguments)
        kwargs = {name: self._argument(value) for name, value in (rest[0] if rest else {}).items()}
        kind, _, name = target.partition(":")
        if kind == "method":
            return self.graph.call_method(method_name(name), args, kwargs)
        return self.graph.call_function(function_by_name(target), args, kwargs)

    def _constant(self, encoded: Any) -> torch.fx.Node:
        name = f"constant_{len(self.nodes)}"
        data = bytearray(base64.b64decode(encoded["data"]))
        dtype = _named("dtype", encoded["dtype"])
        value = torch.frombuffer(data, dtype=dtype) if data else torch.empty(0, dtype=dtype)
        self.root.register_buffer(name, value.reshape(encoded["shape"]).clone())
        return self.graph.get_attr(name)

    def _argument(self, encoded: Any) -> Any:
        if not isinstance(encoded, dict):
            return encoded
        ((kind, value),) = encoded.items()
        if kind == "node":
            return self.nodes[value]
        if kind == "list":
            return [self._argument(item) for item in value]
        if kind == "tuple":
            return tuple(self._argument(item) for item in value)
        return self._rare_argument(kind, value)

    def _rare_argument(self, kind: str, value: Any) -> Any:
        if kind == "float":
            return float.fromhex(value)
        if kind == "slice":
            return slice(*(self._argument(part) for part in value))
        if kind == "dict":
            return {name: self._argument(item) for name, item in value.items()}
        if kind == "size":
            return self.sized(value)
        if kind == "ellipsis":
            return ...
        if kind == "device":
            return torch.device(value)
        if kind in _KINDS:
            return _named(kind, value)
        raise Unsupported(f"{kind!r} isn't a kind of argument")
