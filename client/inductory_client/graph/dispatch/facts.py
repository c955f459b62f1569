"""Facts: what a guard held by reference when a call was captured, in words that another process can compare.

torch rebuilds guards from what it unpickles, and what is pickled by reference (modules, classes, functions,
and whatever is reached through them) is then whatever stands there now. So it is described at the capture,
and a dispatch is used only where the description is still true; the guards that are rebuilt then hold it.
"""

from __future__ import annotations

import enum
import functools
import types
from typing import Any

import torch

from inductory_client.contract.digest import digest_of

IDENTITY = frozenset({"ID_MATCH", "FUNCTION_MATCH", "CLASS_MATCH", "MODULE_MATCH", "CLOSURE_MATCH",
                      "BUILTIN_MATCH"})  # fmt: skip
"""Guards on which object it is."""
_VALUES = frozenset({"CONSTANT_MATCH", "EQUALS_MATCH", "BOOL_MATCH", "NONE_MATCH"})
_KEYS = frozenset({"DICT_KEYS_MATCH", "MAPPING_KEYS_CHECK", "DICT_VERSION"})
_MEMBERS = frozenset({"DICT_CONTAINS", "DICT_NOT_CONTAINS", "SET_CONTAINS", "SET_NOT_CONTAINS"})
_BY_THEMSELVES = frozenset({"DUPLICATE_INPUT", "NOT_NONE_MATCH"})
"""Guards that compare two live things, or one with nothing: they take nothing over from the capture."""

_DIGEST_CHARACTERS = 20
_BY_REFERENCE = (type, types.FunctionType, types.BuiltinFunctionType, types.MethodType, types.ModuleType)

Description = Any
"""Plain JSON; None where something has no description."""


def how(kinds: frozenset[str]) -> str | None:
    """Return in which way a guard of these kinds looks at a value; None where that isn't known."""
    if kinds & IDENTITY:
        return "identity"
    for name, known in (
        ("keys", _KEYS),
        ("member", _MEMBERS),
        ("value", _VALUES),
        ("nothing", _BY_THEMSELVES),
    ):
        if kinds & known:
            return name
    for name, kind in (
        ("length", "SEQUENCE_LENGTH"),
        ("has", "HASATTR"),
        ("own", "NOT_PRESENT_IN_GENERIC_DICT"),
        ("type", "TYPE_MATCH"),
    ):
        if kind in kinds:
            return name
    return None


def observe(way: str, parameter: Any, value: Any) -> Description:
    """Describe what a guard sees of `value`; `parameter` is the key or attribute that it asks for.

    Raises whatever looking at it raises.
    """
    if way in ("identity", "value"):
        return describe(value)
    if way == "type":
        return _named(type(value))
    if way == "length":
        return [_named(type(value)), len(value)]
    if way == "keys":
        keys = [describe(key) for key in dict(value)]
        return None if None in keys else [_named(type(value)), keys]
    if way == "member":
        return parameter in value
    if way == "has":
        return hasattr(value, str(parameter))
    return str(parameter) in getattr(value, "__dict__", {})


def is_reference(value: Any) -> bool:
    """Whether a pickle holds only the name of `value`."""
    return isinstance(value, _BY_REFERENCE)


def describe(value: Any) -> Description:
    """Say what `value` is, the same in every process that has the same; None where that can't be said."""
    if value is None or isinstance(value, (bool, int, float, str, bytes, complex, type(...))):
        return [_named(type(value)), repr(value)]
    if isinstance(value, (torch.dtype, torch.device, torch.layout, torch.memory_format)):
        return [type(value).__name__, str(value)]
    if isinstance(value, enum.Enum):
        return ["member", _named(type(value)), value.name]
    if isinstance(value, (tuple, list, frozenset)):
        items = [describe(item) for item in value]
        if isinstance(value, frozenset):
            items.sort(key=repr)
        return None if None in items else [_named(type(value)), items]
    return _describe_reference(value)


def _describe_reference(value: Any) -> Description:
    if isinstance(value, types.ModuleType):
        return ["module", value.__name__]
    if isinstance(value, type):
        return ["class", _named(value)]
    if isinstance(value, types.FunctionType):
        return ["function", _named(value), function_digest(value)]
    if isinstance(value, types.MethodType):
        return ["method", describe(value.__func__)]
    if isinstance(value, types.CodeType):
        return ["code", code_digest(value)]
    if isinstance(value, functools.partial):
        parts = [describe(part) for part in (value.func, value.args, tuple(sorted(value.keywords.items())))]
        return None if None in parts else ["partial", parts]
    if isinstance(value, types.BuiltinFunctionType):
        owner = value.__self__
        kind = None if owner is None or isinstance(owner, types.ModuleType) else _named(type(owner))
        return ["builtin", _named(value), kind]
    if isinstance(value, (types.MethodDescriptorType, types.WrapperDescriptorType)):
        return ["builtin", _named(value.__objclass__), value.__name__]
    return None


def function_digest(function: types.FunctionType) -> str:
    """Return a digest of what a function does, its defaults included, which not every torch guards on."""
    code = code_digest(function.__code__)
    if not (function.__defaults__ or function.__kwdefaults__):
        return code
    named = [*enumerate(function.__defaults__ or ()), *sorted((function.__kwdefaults__ or {}).items())]
    defaults = [[name, describe(value) or _named(type(value))] for name, value in named]
    return digest_of(repr([code, defaults]).encode())[:_DIGEST_CHARACTERS]


@functools.lru_cache(maxsize=20_000)
def code_digest(code: types.CodeType) -> str:
    """Return a digest of what code does: its instructions, names and constants, and not its place."""
    return digest_of(repr(_contents(code)).encode())[:_DIGEST_CHARACTERS]


def _contents(code: types.CodeType) -> Any:
    constants = [_constant(item) for item in code.co_consts]
    names = (code.co_names, code.co_varnames, code.co_freevars, code.co_cellvars)
    return (
        code.co_name,
        code.co_argcount,
        code.co_kwonlyargcount,
        code.co_flags,
        code.co_code,
        names,
        constants,
    )


def _constant(item: Any) -> Any:
    if isinstance(item, types.CodeType):
        return _contents(item)
    if isinstance(item, frozenset):
        return sorted(map(repr, item))
    if isinstance(item, tuple):
        return [_constant(part) for part in item]
    return repr(item)


def _named(value: Any) -> str:
    return f"{getattr(value, '__module__', None)}.{getattr(value, '__qualname__', type(value).__name__)}"
