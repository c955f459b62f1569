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

Shape = tuple[int, int | None] | int | None

_RANGE = re.compile(r"(\d{1,18})-(\d{1,18})?")


def shape_text(shape: Shape) -> str:
    """Return the one text of `shape`, as it stands in SQL and in URLs."""
    if shape is None:
        return "any"
    if isinstance(shape, int):
        return str(shape)
    low, high = shape
    return f"{low}-{'' if high is None else high}"


def parse_shape(text: str) -> Shape:
    """Read what `shape_text` wrote. Raises Malformed."""
    if text == "any":
        return None
    if re.fullmatch(r"\d{1,18}", text):
        return int(text)
    match = _RANGE.fullmatch(text)
    if match is None:
        raise Malformed(f"{text!r} is not a shape; write any, 8, 1-16384 or 2-")
    low, high = int(match[1]), None if match[2] is None else int(match[2])
    if high is not None and high < low:
        raise Malformed(f"shape {text!r} ends before it begins")
    return low, high
