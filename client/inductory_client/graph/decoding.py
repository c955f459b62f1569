"""Decoding: a graph from its canonical form. Plain data in, names looked up in allow-lists, nothing run."""

from __future__ import annotations

import base64
from collections.abc import Callable, Mapping
from typing import Any

import torch
import torch.fx

from .operators import function_by_name, method_name
from .unsupported import Unsupported

_KINDS: dict[str, type] = {
    "dtype": torch.dtype,
    "layout": torch.layout,
    "memory_format": torch.memory_format,
}

PART = "part:"
"""How the target of a node begins that calls a part of an outer graph."""


def named_constant(kind: str, name: str) -> Any:
    """Return torch's constant of that kind and name; nothing else of torch can be had by name. Raises
    Unsupported.
    """
    value = getattr(torch, name, None)
    if not isinstance(value, _KINDS[kind]):
        raise Unsupported(f"{name!r} isn't a {kind}")
    return value


class GraphDecoder:
    """One form on its way to a graph.

    `sized` turns an encoded expression into a size; `parts` are what an outer graph calls, by name. Besides
    Unsupported, anything that looking into malformed data raises may come out of it.
    """

    def __init__(
        self,
        form: Mapping[str, Any],
        sized: Callable[[Any], Any],
        parts: Mapping[str, Callable[..., Any]] | None = None,
    ) -> None:
        self._form = form
        self._sized = sized
        self._parts = parts or {}
        self._root = torch.nn.Module()
        self._graph = torch.fx.Graph()
        self._nodes: list[torch.fx.Node] = []

    def module(self) -> torch.fx.GraphModule:
        """Return the graph as a module. It returns a tuple."""
        for place in range(len(self._form["inputs"])):
            self._nodes.append(self._graph.placeholder(f"input_{place}"))
        for encoded in self._form["nodes"]:
            self._nodes.append(self._constant(encoded) if isinstance(encoded, dict) else self._node(encoded))
        self._graph.output(tuple(self._argument(self._form["outputs"])))
        return torch.fx.GraphModule(self._root, self._graph)

    def _node(self, encoded: Any) -> torch.fx.Node:
        target, arguments, *rest = encoded
        args = tuple(self._argument(argument) for argument in arguments)
        kwargs = {name: self._argument(value) for name, value in (rest[0] if rest else {}).items()}
        kind, _, name = target.partition(":")
        if kind == "method":
            return self._graph.call_method(method_name(name), args, kwargs)
        if target.startswith(PART):
            # Into the instance and not its modules: torch.nn.Module looks there first, and at no cost.
            vars(self._root)[f"part_{name}"] = self._parts[name]
            return self._graph.call_module(f"part_{name}", args, kwargs)
        return self._graph.call_function(function_by_name(target), args, kwargs)

    def _constant(self, encoded: Any) -> torch.fx.Node:
        name = f"constant_{len(self._nodes)}"
        data = bytearray(base64.b64decode(encoded["data"]))
        dtype = named_constant("dtype", encoded["dtype"])
        value = torch.frombuffer(data, dtype=dtype) if data else torch.empty(0, dtype=dtype)
        self._root.register_buffer(name, value.reshape(encoded["shape"]).clone())
        return self._graph.get_attr(name)

    def _argument(self, encoded: Any) -> Any:
        if not isinstance(encoded, dict):
            return encoded
        ((kind, value),) = encoded.items()
        if kind == "node":
            return self._nodes[value]
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
            return self._sized(value)
        if kind == "ellipsis":
            return ...
        if kind == "device":
            return torch.device(value)
        if kind in _KINDS:
            return named_constant(kind, value)
        raise Unsupported(f"{kind!r} isn't a kind of argument")
