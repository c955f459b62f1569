"""Canonical hints: the lengths that dynamic code is tuned for.

Inductor lets the first call's length into the code it makes (parallel regions, block sizes), though its key
doesn't hold it. So a hint is declared a symbol, from its range alone, and is part of the key.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import sympy

from .unsupported import Unsupported

BASE = 1024
"""Tokens: long enough that what is worth running in parallel is."""
STEP = 64
"""Between the hints of different symbols: equal hints would read as equal sizes."""
_ATTEMPTS = (
    (BASE, STEP),
    (2 * BASE, STEP),
    (4 * BASE, 2 * STEP),
    (16 * BASE, STEP),
    (BASE // 8, 8),
    (
        BASE,
        1,
    ),  # one length may be the other and a token more: what a cache held before and holds after a step
    (BASE, -1),
    (BASE, 0),
    (8, 1),
    (2, 1),
)


def choose_hints(
    symbols: Sequence[sympy.Symbol], ranges: Sequence[tuple[int | None, int | None]], guards: Sequence[Any]
) -> list[int]:
    """Return a hint for each symbol, within its range, for which all guards hold. Raises Unsupported if none
    is found.
    """
    for base, step in _ATTEMPTS:
        hints = [_clamp(base + place * step, interval) for place, interval in enumerate(ranges)]
        values = {symbol: sympy.Integer(hint) for symbol, hint in zip(symbols, hints, strict=True)}
        if all(guard.xreplace(values) == sympy.true for guard in guards):
            return hints
    conditions = ", ".join(map(str, guards))
    raise Unsupported(f"no canonical length satisfies the conditions on the dynamic sizes: {conditions}")


def _clamp(hint: int, interval: tuple[int | None, int | None]) -> int:
    low, high = interval
    hint = hint if high is None else min(hint, high)
    return hint if low is None else max(low, hint)
