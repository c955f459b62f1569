"""Names for what a graph calls, and the way back: an allow-list, so that a graph from elsewhere can't call
anything.

    torch.ops.aten.add.Tensor   --> "op:aten::add.Tensor"
    a custom op                 --> "op:vllm::rms_norm.default|<schema>"
    torch.nn.functional.silu    --> "fn:torch.nn.functional.silu"
    operator.add                --> "fn:_operator.add"

A custom op's schema is part of its name: torch would serve a same-named op with another schema silently
(pytorch#187319).
"""

from __future__ import annotations

import functools
import math
import operator
from collections.abc import Callable
from typing import Any

import torch

from . import torch_private
from .unsupported import Unsupported

_BUILTIN_NAMESPACES = frozenset({"aten", "prims", "prim"})

_OPERATORS = frozenset(
    [
        "abs",
        "add",
        "and_",
        "eq",
        "floordiv",
        "ge",
        "getitem",
        "gt",
        "inv",
        "invert",
        "iadd",
        "iand",
        "ifloordiv",
        "imul",
        "index",
        "ior",
        "isub",
        "itruediv",
        "ixor",
        "le",
        "lshift",
        "lt",
        "matmul",
        "mod",
        "mul",
        "ne",
        "neg",
        "not_",
        "or_",
        "pos",
        "pow",
        "rshift",
        "setitem",
        "sub",
        "truediv",
        "truth",
        "xor",
    ]
)
# As some versions of Dynamo write `x == y`.
_OPERATOR_METHODS = frozenset(
    f"__{kind}{name.strip('_')}__" for name in _OPERATORS - {"setitem"} for kind in ("", "r", "i")
)
_MATH = frozenset(["ceil", "floor", "sqrt", "trunc"])


def function_name(target: Callable[..., Any]) -> str:
    """Return the name of what a call_function node calls. Raises Unsupported for what isn't on the
    allow-list.
    """
    try:
        return _NAMES[target]
    except KeyError:
        name = _NAMES[target] = _name(target)
        return name
    except TypeError as error:
        raise Unsupported(f"the graph calls {target!r}") from error


_NAMES: dict[Callable[..., Any], str] = {}
_OPS_SEEN_MAX = 100_000


def _name(target: Callable[..., Any]) -> str:
    if len(_NAMES) > _OPS_SEEN_MAX:
        _NAMES.clear()
    if isinstance(target, torch_private.OpOverload):
        _refuse_traced_into(target)
        return f"op:{target.namespace}::{target.__name__}{_schemas(target.namespace, [target])}"
    if isinstance(target, torch_private.OpOverloadPacket):
        namespace, _, name = torch_private.packet_name(target).partition("::")
        overloads = torch_private.overloads(target)
        for overload in overloads:
            _refuse_traced_into(overload)
        return f"packet:{namespace}::{name}{_schemas(namespace, overloads)}"
    allowed = _allowed_functions().get(target)
    if allowed is None:
        raise Unsupported(f"the graph calls {getattr(target, '__name__', target)!r}, which can't be keyed")
    return f"fn:{allowed}"


def _schemas(namespace: str, overloads: list[Any]) -> str:
    if namespace in _BUILTIN_NAMESPACES:
        return ""  # torch's own version and sources are factors of the target
    described = (
        " ".join([torch_private.op_schema(overload), *torch_private.op_tags(overload)])
        for overload in overloads
    )
    return "|" + ";".join(sorted(described))


def _refuse_traced_into(op: Any) -> None:
    """Raise Unsupported for a custom op whose implementation becomes part of the code: its schema, which is
    what is keyed, doesn't say what that is.
    """
    reason = None if op.namespace in _BUILTIN_NAMESPACES else torch_private.traced_into(op)
    if reason is not None:
        raise Unsupported(f"the graph calls {op.name()}, which can't be keyed by its schema: {reason}")


@functools.cache
def _allowed_functions() -> dict[Callable[..., Any], str]:
    """Functions by name: the operators, and what torch calls tensor functions."""
    found: dict[Callable[..., Any], str] = dict(torch_private.tensor_functions())
    found.update({getattr(operator, name): f"_operator.{name}" for name in _OPERATORS})
    found.update({getattr(math, name): f"math.{name}" for name in _MATH})
    return found


@functools.cache
def _functions_by_name() -> dict[str, Callable[..., Any]]:
    return {name: function for function, name in _allowed_functions().items()}


def function_by_name(name: str) -> Callable[..., Any]:
    """Return what `function_name` named. Raises Unsupported where this process doesn't have exactly that."""
    kind, _, rest = name.partition(":")
    if kind == "fn":
        function = _functions_by_name().get(rest)
        if function is None:
            raise Unsupported(f"{rest!r} isn't on the list of functions that a graph may call")
        return function
    qualified, _, _ = rest.partition("|")
    namespace, _, op = qualified.partition("::")
    found: Any = getattr(torch.ops, namespace)
    try:
        for part in op.split("."):
            found = getattr(found, part)
    except AttributeError as error:
        raise Unsupported(f"the custom op {qualified} isn't registered in this process") from error
    if kind not in ("op", "packet") or function_name(found) != name:
        raise Unsupported(f"{qualified} has another schema in this process")
    return found  # type: ignore[no-any-return]


def method_name(name: str) -> str:
    """Return the name of a call_method node's method. Raises Unsupported where tensors don't have it."""
    plain = not name.startswith("_") or name in _OPERATOR_METHODS
    if not plain or not callable(getattr(torch.Tensor, name, None)):
        raise Unsupported(f"the graph calls the method {name!r}, which tensors don't have")
    return name
