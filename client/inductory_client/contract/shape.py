"""Shapes: what a manifest's parts are compiled for.

A shape is a symbolic range, a fixed size, or None for any, as in vLLM's compile ranges:

    (1, 16384)  --> "1-16384"    both ends included
    (2, None)   --> "2-"         no upper end
    8           --> "8"
    None        --> "any"
"""

from __future__ import annotations

import re

from .errors import Malformed

# The bounds are checked by `shape_text` and not by msgspec.Meta: msgspec 0.22 crashes the process on a union
# of a constrained int and a tuple.
Shape = tuple[int, int | None] | int | None

_LENGTH_MAX = 10**18 - 1

_RANGE = re.compile(r"([0-9]{1,18})-([0-9]{1,18})?")


def shape_text(shape: Shape) -> str:
    """Return the one text of `shape`, as it stands in SQL and in URLs. Raises Malformed."""
    if shape is None:
        return "any"
    if isinstance(shape, int):
        _check(0 <= shape <= _LENGTH_MAX, shape)
        return str(shape)
    low, high = shape
    _check(0 <= low <= (_LENGTH_MAX if high is None else high) <= _LENGTH_MAX, shape)
    return f"{low}-{'' if high is None else high}"


def _check(makes_sense: bool, shape: Shape) -> None:
    if not makes_sense:
        raise Malformed(
            f"{shape} is not a shape: lengths go from 0 to {_LENGTH_MAX}, a range's ends in order"
        )


def parse_shape(text: str) -> Shape:
    """Read what `shape_text` wrote. Raises Malformed."""
    if text == "any":
        return None
    if re.fullmatch(r"[0-9]{1,18}", text):
        return int(text)
    match = _RANGE.fullmatch(text)
    if match is None:
        raise Malformed(f"{text!r} is not a shape; write any, 8, 1-16384 or 2-")
    shape = int(match[1]), None if match[2] is None else int(match[2])
    shape_text(shape)
    return shape
