"""Range headers (RFC 9110, 14)."""

from __future__ import annotations

import re

from inductory_client.contract.errors import RangeNotSatisfiable

_RANGE = re.compile(r"bytes=\s*(\d{0,18})\s*-\s*(\d{0,18})\s*")


def parse_range(header: str | None, size: int) -> tuple[int, int] | None:
    """Return (start, stop) of the one range that is asked for, stop excluded; None to answer with all of it.

    What isn't one range of bytes is ignored, as the RFC says. Raises RangeNotSatisfiable.
    """
    match = _RANGE.fullmatch(header or "")
    if match is None or (not match[1] and not match[2]):
        return None
    if not match[1]:
        start, stop = max(0, size - int(match[2])), size
    else:
        start = int(match[1])
        stop = min(size, int(match[2]) + 1) if match[2] else size
        if match[2] and int(match[2]) < start:
            return None
    if start >= size or stop <= start:
        raise RangeNotSatisfiable(f"the blob has {size} bytes")
    return start, stop
