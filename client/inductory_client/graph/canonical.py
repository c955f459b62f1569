"""The canonical form of a graph: what is keyed, and what is compiled.

A form is plain JSON: symbols with their ranges and hints, inputs, nodes and outputs, by position. It has no
node or parameter names, no stack traces, no source paths, and no length of a first call. The compiler
compiles the graph that is rebuilt from the form, never the captured one, so whatever isn't in the form can't
leak into the code; and whatever is, is in the key.
"""

from __future__ import annotations

import base64
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import torch
import torch.fx

from inductory_client.contract.canonical_json import digest_of_json
from inductory_client.contract.key import BACKEND
from inductory_client.contract.shape import Shape

from . import torch_private
from .expressions import SymbolNames
from .hints import choose_hints
from .operators import function_name, method_name
from .unsupported import Unsupported

FORM_VERSION = 1
CONSTANT_BYTES_MAX = 64 << 10

Form = dict[str, Any]


@dataclass(frozen=True)
class Canonical:
    """A graph's canonical form, its digest, and what its symbols are called in the capture at hand."""

    form: Form
    digest: str
    symbols: dict[str, Any]
    """The capture's own symbols, by their names in the form."""


def canonicalise(
    module: torch.fx.GraphModule, inputs: Sequence[Any], parts: Mapping[str, str] | None = None
) -> Canonical:
    """Bring `module` on `inputs` (fake tensors, symbolic sizes) into its canonical form. Raises Unsupported.

    With `parts`, the digests of the submodules that `module` calls by name, the form is of an outer graph:
    such a form is there to be told from others, and not to be compiled.
    """
    encoder = _Encoder(module, parts)
    form = encoder.form(inputs)
    return Canonical(form, digest_of_json(form), {encoder.names.name(s): s for s in encoder.names.symbols})


def canonicalise_attention(module: torch.fx.GraphModule, inputs: Sequence[Any]) -> Canonical:
    """As `canonicalise`, for attention, which isn't compiled here and may call higher-order ops on
    sub-graphs.
    """
    return canonicalise(module, inputs, {})


class _Encoder:
    def __init__(self, module: torch.fx.GraphModule, parts: Mapping[str, str] | None) -> None:
        self.module = module
        self.parts = parts
        self.names = SymbolNames()
        self.numbers: dict[torch.fx.Node, int] = {}

    def form(self, inputs: Sequence[Any]) -> Form:
        placeholders = [node for node in self.module.graph.nodes if node.op == "placeholder"]
        if len(placeholders) != len(inputs):
            raise Unsupported(f"the graph has {len(placeholders)} inputs, and {len(inputs)} were given")
        for node in placeholders:
            self.numbers[node] = len(self.numbers)
        encoded_inputs = [self._input(value) for value in inputs]
        nodes = [
            self._node(node) for node in self.module.graph.nodes if node.op not in ("placeholder", "output")
        ]
        outputs = self._argument(_outputs(self.module))
        symbols, guards = self._symbols(torch_private.shape_env_of(inputs))
        return {
            "version": FORM_VERSION,
            "compiler": BACKEND,
            "symbols": symbols,
            "guards": guards,
            "inputs": encoded_inputs,
            "nodes": nodes,
            "outputs": outputs,
        }

    def _input(self, value: Any) -> Any:
        if isinstance(value, (int, torch.SymInt)) and not isinstance(value, bool):
            return {"size": self.names.encode(torch_private.expression_of(value))}
        if not isinstance(value, torch.Tensor):
            raise Unsupported(f"an input is a {type(value).__name__}, neither a tensor nor a size")
        refuse_odd_tensor(value)
        return {
            "dtype": str(value.dtype).removeprefix("torch."),
            "device": value.device.type,
            "shape": [self._size(size) for size in value.shape],
            "stride": [self._size(size) for size in value.stride()],
            "offset": self._size(value.storage_offset()),
        }

    def _size(self, size: int | torch.SymInt) -> Any:
        return size if type(size) is int else self.names.encode(torch_private.expression_of(size))

    def _symbols(self, env: Any) -> tuple[list[Any], list[Any]]:
        if env is None or not self.names.symbols:
            return [], []
        symbols = self.names.symbols
        for symbol in symbols:
            if not torch_private.is_backed(env, symbol):
                raise Unsupported("a size depends on data")
        ranges = [torch_private.symbol_range(env, symbol) for symbol in symbols]
        guards = [guard for guard in torch_private.guards_of(env) if self._concerns(guard)]
        hints = choose_hints(symbols, ranges, guards)
        named = [
            {"name": self.names.name(symbol), "range": list(interval), "hint": hint}
            for symbol, interval, hint in zip(symbols, ranges, hints, strict=True)
        ]
        encoded = [self.names.encode(guard) for guard in guards]
        return named, sorted(encoded, key=repr)

    def _concerns(self, guard: Any) -> bool:
        free: frozenset[Any] = getattr(guard, "free_symbols", frozenset())
        return bool(free) and all(self.names.knows(symbol) for symbol in free)

    def _node(self, node: torch.fx.Node) -> Any:
        if node.op == "call_function":
            target = self._function(node.target)
        elif node.op == "call_method":
            target = "method:" + method_name(str(node.target))
        elif node.op == "get_attr":
            constant = self._constant(str(node.target))
            self.numbers[node] = len(self.numbers)
            return constant
        elif node.op == "call_module" and self.parts and str(node.target) in self.parts:
            target = "part:" + self.parts[str(node.target)]
        else:
            raise Unsupported(f"the graph has a {node.op} node")
        encoded: list[Any] = [target, [self._argument(argument) for argument in node.args]]
        if node.kwargs:
            encoded.append({name: self._argument(value) for name, value in node.kwargs.items()})
        self.numbers[node] = len(self.numbers)
        return encoded

    def _function(self, target: Any) -> str:
        higher_order = torch_private.higher_order_op_name(target)
        if higher_order is not None and self.parts is not None:
            return f"higher_order:{higher_order}"
        return function_name(target)

    def _constant(self, name: str) -> Any:
        value: Any = self.module
        for part in name.split("."):
            value = getattr(value, part)
        if isinstance(value, torch.fx.GraphModule) and self.parts is not None:
            return {"graph": canonicalise_attention(value, example_inputs(value)).form}
        if not isinstance(value, torch.Tensor) or isinstance(value, torch.nn.Parameter):
            raise Unsupported(f"the graph holds a {type(value).__name__}")
        refuse_odd_tensor(value)
        if value.device.type != "cpu" or value.numel() * value.element_size() > CONSTANT_BYTES_MAX:
            raise Unsupported(
                f"the graph holds a constant larger than {CONSTANT_BYTES_MAX} bytes, or on a device"
            )
        data = value.detach().contiguous().reshape(-1).view(torch.uint8).numpy().tobytes()
        dtype = str(value.dtype).removeprefix("torch.")
        return {"dtype": dtype, "shape": list(value.shape), "data": base64.b64encode(data).decode()}

    def _argument(self, value: Any) -> Any:
        if value is None or isinstance(value, (bool, int, str)):
            return value
        if isinstance(value, torch.fx.Node):
            return {"node": self.numbers[value]}
        if isinstance(value, (list, tuple)):
            # torch.Size and named tuples are tuples to what is called; lists and tuples it may tell apart.
            return {"list" if isinstance(value, list) else "tuple": [self._argument(item) for item in value]}
        return self._rare_argument(value)

    def _rare_argument(self, value: Any) -> Any:
        if isinstance(value, float):
            return {"float": value.hex()}
        if isinstance(value, slice):
            return {"slice": [self._argument(part) for part in (value.start, value.stop, value.step)]}
        if isinstance(value, dict) and all(isinstance(name, str) for name in value):
            return {"dict": {name: self._argument(item) for name, item in value.items()}}
        if isinstance(value, torch.SymInt):
            return {"size": self.names.encode(torch_private.expression_of(value))}
        if value is Ellipsis:
            return {"ellipsis": True}
        for kind in (torch.dtype, torch.layout, torch.memory_format):
            if isinstance(value, kind):
                return {kind.__name__: str(value).removeprefix("torch.")}
        if isinstance(value, torch.device):
            # A graph computes on one GPU (see `captured`), whose index a load decides.
            if value.type != "cuda" and value.index not in (None, 0):
                raise Unsupported(f"the graph names the device {value}")
            return {"device": value.type}
        raise Unsupported(f"the graph has an argument of type {type(value).__name__}")


def refuse_odd_tensor(value: torch.Tensor) -> None:
    """Raise Unsupported for tensors whose layout or behaviour the form can't describe."""
    plain = (torch.Tensor, torch.nn.Parameter, torch.nn.Buffer, torch_private.FakeTensor)
    if type(value) not in plain and not torch_private.wraps_plain(value):
        raise Unsupported(f"an input is a tensor subclass, {type(value).__name__}")
    if value.layout is not torch.strided or value.is_quantized or value.is_conj() or value.is_neg():
        raise Unsupported("an input is sparse, quantised, or a lazy conjugate or negative")


def example_inputs(module: torch.fx.GraphModule) -> list[Any]:
    """Return the fake inputs that Dynamo, and `split_module` after it, left on the placeholders. Raises
    Unsupported.
    """
    found = []
    for node in module.graph.nodes:
        if node.op == "placeholder":
            if "example_value" not in node.meta:
                raise Unsupported(f"the input {node.name} has no example value")
            found.append(node.meta["example_value"])
    return found


def _outputs(module: torch.fx.GraphModule) -> list[Any]:
    """Return a graph's outputs as a list, one that returns a bare tensor included.

    Every piece is made to return a tuple before it is compiled: a bare tensor comes back as a list once
    loaded, and indexing it then silently slices the batch.
    """
    (value,) = next(node for node in module.graph.nodes if node.op == "output").args
    return list(value) if isinstance(value, (list, tuple)) else [value]


def returns_bare(module: torch.fx.GraphModule) -> bool:
    """Whether the graph returns one value that isn't in a tuple."""
    (value,) = next(node for node in module.graph.nodes if node.op == "output").args
    return not isinstance(value, (list, tuple))


def shape_of(form: Form, fixed: int | None) -> Shape:
    """Return the shape that a form is compiled for; `fixed` is the size of a graph that has no symbols.

    One symbol of a size: its range. Several, or none in a graph that has some: any (their ranges are in the
    graph digest).
    """
    symbols = form["symbols"]
    if len(symbols) == 1:
        low, high = symbols[0]["range"]
        return None if low is None or low < 0 else (low, high)
    return None if symbols else fixed


def fixed_size(inputs: Sequence[Any]) -> int | None:
    """Return the size of a graph by its inputs, or None where one of them is symbolic.

    The size is the number of elements of the first input that holds whole numbers (token ids, positions), or
    else of the first one's dimensions but the last.
    """
    shapes: list[tuple[bool, tuple[int, ...]]] = []
    for value in inputs:
        if isinstance(value, torch.SymInt):
            return None
        if isinstance(value, torch.Tensor) and value.ndim:
            if any(isinstance(length, torch.SymInt) for length in value.shape):
                return None
            whole = not (value.is_floating_point() or value.is_complex())
            shapes.append((whole, tuple(value.shape)))
    whole_first = [shape for whole, shape in shapes if whole] + [shape[:-1] for _, shape in shapes]
    return math.prod(whole_first[0]) if whole_first else None
