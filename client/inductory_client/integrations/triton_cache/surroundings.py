"""The surroundings of a kernel: what the names in it stand for outside of it.

Triton's key has the source of a kernel and of the functions that it calls, and the values of constants of
their modules. It has neither the types and builtins that are bound to names there, nor constants of other
modules, nor defaults of called functions; each may depend on the environment or the machine, and decides the
code. In one process that is no matter. Between machines it is, so a digest of all of it joins our key.
"""

from __future__ import annotations

import dis
import functools
from types import BuiltinFunctionType, CodeType, FrameType, FunctionType, ModuleType
from typing import Any

from triton.compiler import compiler

from inductory_client.contract.digest import digest_of

FUNCTIONS_MAX = 1000
"""More that one kernel calls aren't followed: it isn't shared."""
_FRAMES_MAX = 4


class Unclear(Exception):
    """Something in a kernel's surroundings has no text that says all of it."""


def source_within(frame: FrameType | None) -> Any:
    """Return what Triton compiles in one of the innermost frames; None where it compiles nothing."""
    for _ in range(_FRAMES_MAX):
        if frame is None:
            return None
        if frame.f_code is compiler.compile.__code__:
            return frame.f_locals.get("src")
        frame = frame.f_back
    return None


def surroundings_of(source: Any) -> str:
    """Return the digest of a kernel's surroundings, `source` being what Triton compiles. Raises Unclear."""
    kernel = getattr(source, "fn", None)
    if kernel is None:
        return digest_of(b"")  # a file: its text is in the key, and has no names of elsewhere
    walk = _Walk()
    walk.function(kernel)
    for value in getattr(source, "constants", {}).values():
        if hasattr(value, "cache_key"):
            walk.function(value)
    return digest_of("\n".join(walk.lines).encode())


class _Walk:
    """Describes functions and all that they reach, in an order that is the same in every process."""

    def __init__(self) -> None:
        self.lines: list[str] = []
        self._seen: set[int] = set()

    def function(self, jitted: Any) -> None:
        """Describe a function of Triton's, once."""
        function = getattr(jitted, "fn", None)
        if not isinstance(function, FunctionType):
            raise Unclear(f"{type(jitted).__name__} isn't made of a Python function")
        if id(function) in self._seen:
            return
        self._seen.add(id(function))
        if len(self._seen) > FUNCTIONS_MAX:
            raise Unclear(f"{function.__name__} is one of more than {FUNCTIONS_MAX} functions")
        self.lines.append(f"def {function.__name__}")
        for place, value in enumerate(function.__defaults__ or ()):
            self._value(f"default {place}", value)
        for name, value in sorted((function.__kwdefaults__ or {}).items()):
            self._value(f"default {name}", value)
        names, attributes = _names(function.__code__)
        for name in sorted(names & function.__globals__.keys()):
            self._named(name, function.__globals__[name], attributes)
        for name, cell in zip(function.__code__.co_freevars, function.__closure__ or (), strict=True):
            try:
                content = cell.cell_contents
            except ValueError:  # bound to nothing yet
                continue
            self._named(name, content, attributes)

    def _named(self, name: str, value: Any, attributes: frozenset[str], above: tuple[int, ...] = ()) -> None:
        """Describe a value; of a module, what it has of the attributes that are asked for."""
        if not isinstance(value, ModuleType):
            self._value(name, value)
            return
        if id(value) in above:
            return
        for attribute in sorted(attributes & vars(value).keys()):
            self._named(f"{name}.{attribute}", vars(value)[attribute], attributes, (*above, id(value)))

    def _value(self, name: str, value: Any) -> None:
        if hasattr(value, "cache_key") and hasattr(value, "fn"):
            self.lines.append(f"{name} is a function")
            self.function(value)
        elif isinstance(value, (type, FunctionType, BuiltinFunctionType)):
            # What it does is in Triton's key where it is Triton's own.
            if isinstance(value, FunctionType) and value.__module__.partition(".")[0] != "triton":
                raise Unclear(f"{name} is a function of {value.__module__}")
            self.lines.append(f"{name} is {value.__module__}.{value.__qualname__}")
            for place, part in enumerate(getattr(value, "hash_attrs", ())):  # an aggregate's methods
                self._value(f"{name} {place}", part)
        else:
            text = repr(value)
            if " at 0x" in text:
                raise Unclear(f"{name} is {type(value).__name__}")
            self.lines.append(f"{name} is {type(value).__name__} {text}")


@functools.lru_cache(maxsize=FUNCTIONS_MAX)  # a model's kernels call the same few functions
def _names(code: CodeType) -> tuple[frozenset[str], frozenset[str]]:
    """Return the global names that code reads, and those of attributes."""
    names: set[str] = set()
    attributes: set[str] = set()
    for instruction in dis.get_instructions(code):
        if instruction.opname in ("LOAD_GLOBAL", "LOAD_NAME"):
            names.add(instruction.argval)
        elif instruction.opname in ("LOAD_ATTR", "LOAD_METHOD"):
            attributes.add(instruction.argval)
    for constant in code.co_consts:
        if isinstance(constant, CodeType):
            inner = _names(constant)
            names |= inner[0]
            attributes |= inner[1]
    return frozenset(names), frozenset(attributes)
