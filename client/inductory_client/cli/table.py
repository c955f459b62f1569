"""Tables of text, aligned by column."""

from __future__ import annotations

from collections.abc import Iterable, Sequence


def table(headings: Sequence[str], rows: Iterable[Sequence[object]], *, right: Sequence[str] = ()) -> str:
    """Return an aligned table under its headings; the columns named in `right` are flush right."""
    cells = [list(headings), *([_text(value) for value in row] for row in rows)]
    widths = [max(len(row[column]) for row in cells) for column in range(len(headings))]
    lines = []
    for row in cells:
        padded = (
            cell.rjust(width) if heading in right else cell.ljust(width)
            for cell, width, heading in zip(row, widths, headings, strict=True)
        )
        lines.append("  ".join(padded).rstrip())
    return "\n".join(lines)


def facts(pairs: Iterable[tuple[str, object]]) -> str:
    """Return one aligned line a pair of name and value."""
    named = [(name, _text(value)) for name, value in pairs]
    width = max((len(name) for name, _ in named), default=0)
    return "\n".join(f"{name.ljust(width)}  {value}".rstrip() for name, value in named)


def count_text(count: int, noun: str, nouns: str = "") -> str:
    """Return a count with its noun: 1 file, 2 files. `nouns` are several where an s doesn't make them."""
    return f"{count} {noun}" if count == 1 else f"{count} {nouns or noun + 's'}"


def bytes_text(count: int) -> str:
    """Return a byte count as people read it: 4.4 KiB, 6.7 MiB."""
    size = float(count)
    for unit in ("bytes", "KiB", "MiB", "GiB"):
        if size < 1024 or unit == "GiB":
            break
        size /= 1024
    return f"{count} bytes" if unit == "bytes" else f"{size:.1f} {unit}"


def seconds_text(seconds: float) -> str:
    """Return a duration as people read it: 12 ms, 3.4 s."""
    return f"{seconds * 1000:.0f} ms" if seconds < 1 else f"{seconds:.1f} s"


def printable(text: str) -> str:
    """Return one line without control characters: what comes from elsewhere doesn't steer a terminal."""
    return "".join(character if character.isprintable() else "?" for character in text)


def _text(value: object) -> str:
    return "-" if value is None else printable(str(value))
