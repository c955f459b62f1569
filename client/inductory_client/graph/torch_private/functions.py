"""The functions and operators that graphs call."""

# mypy: disable-error-code="attr-defined,no-untyped-call,method-assign,misc"

from __future__ import annotations

import functools
import inspect
import types
from collections.abc import Callable, Sequence
from typing import Any

import torch
from torch._ops import OpOverload, OpOverloadPacket
from torch.utils._sympy import functions as sympy_functions


@functools.cache
def symbolic_functions() -> dict[str, Any]:
    """Return torch's own SymPy functions that sizes are computed with, by name."""
    names = ("FloorDiv", "CleanDiv", "CeilDiv", "Mod", "PythonMod", "ModularIndexing", "Max", "Min", "Where")
    return {name: getattr(sympy_functions, name) for name in names if hasattr(sympy_functions, name)}


def packet_name(packet: OpOverloadPacket) -> str:
    return str(packet._qualified_op_name)


def overloads(packet: OpOverloadPacket) -> list[OpOverload]:
    return [getattr(packet, name) for name in packet.overloads()]


def op_schema(op: OpOverload) -> str:
    return str(op._schema)


def tensor_functions() -> dict[Callable[..., Any], str]:
    """Return the functions on tensors that Dynamo writes into graphs, with their names.

    Native functions are harmless: they compute. Python ones are those that torch says may be overridden for
    tensors.
    """
    found: dict[Callable[..., Any], str] = {}
    for prefix, owner in (("torch._C._nn", torch._C._nn), ("torch.special", torch._C._special),
                          ("torch.fft", torch._C._fft), ("torch.linalg", torch._C._linalg)):  # fmt: skip
        for name in dir(owner):
            if not name.startswith("__") and callable(getattr(owner, name)):
                found[getattr(owner, name)] = f"{prefix}.{name}"
    for name in dir(torch._C._VariableFunctions):
        function = getattr(torch, name, None)
        if (
            not name.startswith("_")
            and name != "from_file"
            and isinstance(function, types.BuiltinFunctionType)
        ):
            found[function] = f"torch.{name}"
    for name, function in inspect.getmembers(torch.nn.functional, inspect.isfunction):
        if not name.startswith("_") and function.__module__ == "torch.nn.functional":
            found[function] = f"torch.nn.functional.{name}"
    for name in dir(torch):
        if name.startswith("sym_") and callable(getattr(torch, name)):
            found[getattr(torch, name)] = f"torch.{name}"
    extras = {
        "torch.functional.einsum": torch.functional.einsum,
        "torch.functional.split": torch.functional.split,
        "torch.amp._enter_autocast": torch.amp.autocast_mode._enter_autocast,
        "torch.amp._exit_autocast": torch.amp.autocast_mode._exit_autocast,
        "torch._C._set_grad_enabled": torch._C._set_grad_enabled,
        "torch._C._log_api_usage_once": torch._C._log_api_usage_once,
    }
    found.update({function: name for name, function in extras.items()})
    return found


# As functional collectives and engines' own ops call the argument that holds a group's name.
_GROUP_ARGUMENTS = frozenset({"group_name", "group", "process_group", "pg"})


@functools.cache
def _takes_process_group(op: OpOverload) -> bool:
    return any(
        argument.name in _GROUP_ARGUMENTS or "ProcessGroup" in str(argument.type)
        for argument in op._schema.arguments
    )


def traced_into(op: OpOverload) -> str | None:
    """Return why compiling takes an operator apart, so that its schema doesn't say what the code will be, or
    None.
    """
    from torch._inductor.decomposition import decompositions
    from torch._library import simple_registry
    from torch._subclasses.functional_tensor import FunctionalTensorMode

    if torch._C._dispatch_has_kernel_for_dispatch_key(op.name(), "CompositeImplicitAutograd"):
        return "it is made of other operations"
    if op in decompositions or op.has_kernel_for_dispatch_key(torch._C.DispatchKey.Python):
        return "a decomposition of it is registered"
    rules = simple_registry.singleton.find(op.name().partition(".")[0]).torch_dispatch_rules
    if rules.find(FunctionalTensorMode) is not None:
        return "it is a Triton operator, whose kernel is compiled into the code"
    return None


def op_tags(op: OpOverload) -> list[str]:
    """Return the operator's tags; some decide the layouts that it is given."""
    return sorted(tag.name for tag in op.tags)


def names_process_group(target: Any) -> bool:
    """Whether `target` is an operator that is told by name which process group it works on."""
    if isinstance(target, OpOverloadPacket):
        return any(map(_takes_process_group, overloads(target)))
    return isinstance(target, OpOverload) and _takes_process_group(target)


def enables_gradients(target: Any, arguments: Sequence[Any]) -> bool:
    return target is torch._C._set_grad_enabled and bool(arguments) and arguments[0] is True


def higher_order_op_name(target: Any) -> str | None:
    """Return the name of a higher-order operator, or None."""
    return str(target.name()) if isinstance(target, torch._ops.HigherOrderOperator) else None
