"""Behaviour: what the methods of a class do in this process, whoever put them there.

A file's digest doesn't tell: libraries put functions of their own where a model's methods were
(`Norm.forward = fused_forward`), and Dynamo guards on which class it is, and not on its methods.
"""

from __future__ import annotations

import functools
import importlib
import sys
import types
from collections.abc import Iterable, Iterator
from typing import Any

import torch

from inductory_client.contract.canonical_json import digest_of_json
from inductory_client.graph.unsupported import Unsupported

from .facts import function_digest

_DIGEST_CHARACTERS = 20
_DEPTH_MAX = 8


def behaviours(classes: Iterable[type]) -> dict[str, str]:
    """Return digests of what classes do, with all that they inherit, by name.

    Raises Unsupported for a class that its name doesn't lead to. Classes of torch and of Python itself, which
    are factors of the target, aren't in it, but for torch's modules: they get patched.
    """
    found = {f"{cls.__module__}:{cls.__qualname__}": cls for cls in classes if not _is_torchs_or_pythons(cls)}
    for name, cls in found.items():
        if _class_of(name) is not cls:
            raise Unsupported(f"the class {name} can't be found by that name in another process")
    return dict(sorted(zip(found, _digests(found.values()), strict=True)))


def changed_behaviours(recorded: dict[str, str]) -> list[str]:
    """Return the classes that don't do what was recorded, by name. Imports their modules."""
    classes = {name: _class_of(name) for name in recorded}
    here = {name: cls for name, cls in classes.items() if cls is not None}
    digests = dict(zip(here, _digests(here.values()), strict=True))
    return [name for name, digest in recorded.items() if digests.get(name) != digest]


def behaviour_of(model: torch.nn.Module) -> Any:
    """Return what the classes of a model's modules do, and which methods modules have in their place."""
    classes = {type(module) for module in model.modules()}
    names = {cls: frozenset(name for base in cls.__mro__ for name in vars(base)) for cls in classes}
    own = {name: sorted(vars(module).keys() & names[type(module)] - _STATE)
           for name, module in model.named_modules() if module is not model}  # fmt: skip
    named = ((cls.__module__, cls.__qualname__) for cls in classes)
    does = sorted(zip(named, _digests(classes), strict=True))
    return [does, {name: shadowed for name, shadowed in own.items() if shadowed}]


_STATE = frozenset(name for name, value in vars(torch.nn.Module).items() if not callable(value))


def functions_of(cls: type) -> Iterator[types.FunctionType]:
    """Yield the functions that a class has and inherits, and those that these are wrapped around."""
    for base in cls.__mro__:
        for value in vars(base).values():
            yield from unwrapped(value)


def unwrapped(value: Any, depth: int = 0) -> Iterator[types.FunctionType]:
    """Yield a function, and the functions that it closes over: what decorators are put around."""
    if depth > _DEPTH_MAX:
        return
    if isinstance(value, types.FunctionType):
        yield value
        for cell in value.__closure__ or ():
            try:
                held = cell.cell_contents
            except ValueError:  # not filled yet
                continue
            if held is not value:
                yield from unwrapped(held, depth + 1)
        return
    if isinstance(value, property):
        inner: tuple[Any, ...] = (value.fget, value.fset, value.fdel)
    elif isinstance(value, (staticmethod, classmethod, types.MethodType)):
        inner = (value.__func__,)
    else:
        inner = (value.func,) if isinstance(value, (functools.partial, functools.cached_property)) else ()
    for part in inner:
        yield from unwrapped(part, depth + 1)


def _digests(classes: Iterable[type]) -> Iterator[str]:
    known: dict[type, str] = {}
    for cls in classes:
        for base in cls.__mro__:
            if base not in known:
                known[base] = digest_of_json(_methods(base))
        yield digest_of_json([known[base] for base in cls.__mro__])[:_DIGEST_CHARACTERS]


def _methods(base: type) -> list[Any]:
    named = ((name, [function_digest(part) for part in unwrapped(value)])
             for name, value in vars(base).items())  # fmt: skip
    return sorted([name, digests] for name, digests in named if digests)


def _is_torchs_or_pythons(cls: type) -> bool:
    top = cls.__module__.partition(".")[0]
    return top in sys.stdlib_module_names or (top == "torch" and not issubclass(cls, torch.nn.Module))


def _class_of(name: str) -> type | None:
    module, _, path = name.partition(":")
    try:
        found: Any = importlib.import_module(module)
        for part in path.split("."):
            found = getattr(found, part)
    except (ImportError, AttributeError):
        return None
    return found if isinstance(found, type) else None
