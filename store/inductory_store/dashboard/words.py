"""Numbers as people read them."""

from __future__ import annotations


def duration(seconds: float) -> str:
    """Return a length of time in at most two units: `42 s`, `3 min 20 s`, `5 h 2 min`, `12 d 4 h`."""
    if 0 < seconds < 10:
        return f"{seconds:.1f} s"
    whole = round(seconds)
    for size, unit, rest_size, rest_unit in (
        (86400, "d", 3600, "h"),
        (3600, "h", 60, "min"),
        (60, "min", 1, "s"),
    ):
        if whole >= size:
            rest = whole % size // rest_size
            return f"{whole // size:,} {unit}" + (f" {rest} {rest_unit}" if rest else "")
    return f"{whole} s"


def ago(seconds: float) -> str:
    """Return how long ago something was, in one unit."""
    for size, unit in ((86400, "day"), (3600, "hour"), (60, "minute")):
        if seconds >= size:
            count = int(seconds // size)
            return f"{count} {unit}{'' if count == 1 else 's'} ago"
    return "just now"


def amount(count: int) -> str:
    """Return a count with separators."""
    return f"{count:,}"


def size(count: int) -> str:
    """Return a number of bytes in the unit that suits it."""
    value = float(count)
    for unit in ("B", "KiB", "MiB", "GiB"):
        if value < 1024:
            return f"{value:.0f} {unit}" if unit == "B" or value >= 100 else f"{value:.1f} {unit}"
        value /= 1024
    return f"{value:.1f} TiB"


def percent(part: int, whole: int) -> str:
    """Return a share in percent; a dash of nothing."""
    return f"{100 * part / whole:.0f} %" if whole else "–"
