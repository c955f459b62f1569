"""Symbolic sizes as plain JSON: no text to evaluate, no parser to attack.

    s27             --> "z0"
    128*s27         --> ["Mul", 128, "z0"]
    s27 // 2 >= 5   --> ["GreaterThan", ["FloorDiv", "z0", 2], 5]

Symbols are renamed z0, z1, ... in order of appearance, so that the text doesn't depend on what was traced
before.
"""

from __future__ import annotations

import functools
from fractions import Fraction
from typing import Any

import sympy

from . import torch_private
from .unsupported import Unsupported

Encoded = str | int | list[Any]
"""A symbol's name, a number, or [function, argument, ...]."""

_SYMPY_FUNCTIONS: dict[str, Any] = {
    function.__name__: function
    for function in (
        sympy.Add, sympy.Mul, sympy.Pow, sympy.Max, sympy.Min,
        sympy.Eq, sympy.Ne, sympy.Lt, sympy.Le, sympy.Gt, sympy.Ge,
        sympy.And, sympy.Or, sympy.Not,
    )
}  # fmt: skip


@functools.cache
def _functions() -> dict[str, Any]:
    return _SYMPY_FUNCTIONS | torch_private.symbolic_functions()


class SymbolNames:
    """Names the symbols of one graph in order of appearance, and encodes expressions over them."""

    def __init__(self) -> None:
        self.symbols: list[sympy.Symbol] = []
        self._names: dict[sympy.Symbol, str] = {}
        self._renamed: dict[sympy.Symbol, sympy.Symbol] = {}
        self._encoded: dict[sympy.Expr, Encoded] = {}

    def name(self, symbol: sympy.Symbol) -> str:
        found = self._names.get(symbol)
        if found is None:
            found = self._names[symbol] = f"z{len(self.symbols)}"
            self._renamed[symbol] = sympy.Symbol(found, **symbol.assumptions0)
            self.symbols.append(symbol)
        return found

    def knows(self, symbol: sympy.Symbol) -> bool:
        return symbol in self._names

    def encode(self, expression: Any) -> Encoded:
        """Encode a SymPy expression, naming its symbols. Raises Unsupported."""
        if isinstance(expression, int):
            return expression
        if isinstance(expression, sympy.Symbol):
            return self.name(expression)
        found = self._encoded.get(expression)
        if found is None:
            for symbol in sorted(expression.free_symbols - self._names.keys(), key=str):
                self.name(symbol)
            # Renamed first: SymPy orders arguments by name, and the order mustn't tell one trace from
            # another.
            found = self._encoded[expression] = _encode(expression.xreplace(self._renamed))
        return found


def _encode(expression: Any) -> Encoded:
    if isinstance(expression, sympy.Symbol):
        return str(expression.name)
    if isinstance(expression, sympy.Integer):
        return int(expression)
    if isinstance(expression, sympy.Rational):
        return ["Rational", int(expression.p), int(expression.q)]
    name = type(expression).__name__
    if name not in _functions() or not expression.args:
        raise Unsupported(f"a size is computed with {name}, which has no canonical form")
    return [name, *(_encode(argument) for argument in expression.args)]


def decode(encoded: Any, symbols: dict[str, sympy.Symbol]) -> Any:
    """Rebuild a SymPy expression over `symbols`. Raises Unsupported for anything `SymbolNames.encode`
    wouldn't write.
    """
    if isinstance(encoded, bool):
        raise Unsupported("a truth value isn't a size")
    if isinstance(encoded, int):
        return sympy.Integer(encoded)
    if isinstance(encoded, str):
        if encoded not in symbols:
            raise Unsupported(f"{encoded!r} isn't one of the graph's symbols")
        return symbols[encoded]
    if not isinstance(encoded, list) or len(encoded) < 2 or not isinstance(encoded[0], str):
        raise Unsupported("an expression is a symbol, a number, or a function with its arguments")
    name, *arguments = encoded
    try:
        # Never anything but numbers and expressions: SymPy evaluates text that it is given as Python.
        decoded = [decode(argument, symbols) for argument in arguments]
        if name == "Rational":
            return sympy.Rational(Fraction(*map(_whole, decoded)))
        return _functions()[name](*decoded)
    except KeyError:
        raise Unsupported(f"{name!r} isn't a function that sizes are computed with") from None
    except (TypeError, ValueError, ArithmeticError, AttributeError, AssertionError, RecursionError) as error:
        raise Unsupported(f"{name} doesn't take these arguments") from error


def _whole(number: Any) -> int:
    if not isinstance(number, sympy.Integer):
        raise TypeError("a fraction has whole numbers")
    return int(number)
