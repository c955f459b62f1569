"""Agreement: whether builders made the same bytes of one key, and in which parts they didn't."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Annotated, Literal

from msgspec import Meta, Struct

from .artifact import Subject
from .descriptor import (
    CACHE_FILE,
    FILE,
    GRAPH,
    LOADABLE_DISPATCH,
    LOADED,
    NATIVE,
    PAYLOAD,
    PYTHON,
    Descriptor,
)

PARTS_MAX = 20
"""Most parts that are told of one comparison."""
NAME_CHARS_MAX = 200
"""A longer name is cut: whoever reads it wants to know which part it is."""

_KINDS = {
    PAYLOAD: "payload",
    NATIVE: "native file",
    LOADABLE_DISPATCH: "dispatch",
    GRAPH: "graph",
    PYTHON: "source",
    FILE: "file",
    CACHE_FILE: "cache file",
}


class PartDifference(Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """A part in which a later artifact isn't like the one that is kept."""

    media_type: Annotated[str, Meta(max_length=128)]
    """Empty for what the statement itself holds: guards and requirements."""
    name: Annotated[str, Meta(max_length=NAME_CHARS_MAX)]
    how: Literal["different", "missing", "added"]
    """The later artifact has other bytes of it, lacks it, or has it besides."""

    def __str__(self) -> str:
        what = f"{_KINDS.get(self.media_type, self.media_type)} {self.name}".strip()
        return what if self.how == "different" else f"{what} ({self.how})"


class Comparison(Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """How a later artifact of a key compares with the one that is kept."""

    differing: Annotated[int, Meta(ge=0)]
    """In how many parts they differ; none of a reproduced one."""
    parts: Annotated[tuple[PartDifference, ...], Meta(max_length=PARTS_MAX)] = ()
    """The first of these, what a load reads in front."""

    def __str__(self) -> str:
        more = self.differing - len(self.parts)
        return ", ".join(map(str, self.parts)) + (f" and {more} more" if more else "")


def compare(kept: Subject, later: Subject) -> Comparison:
    """Compare two artifacts of one key: blobs by media type and name, then what is signed besides."""
    ours, theirs = _parts(kept.descriptors), _parts(later.descriptors)
    found = [
        _difference(*part, ours.get(part), theirs.get(part))
        for part in sorted(ours.keys() | theirs.keys(), key=lambda part: (part[0] not in LOADED, part))
        if ours.get(part) != theirs.get(part)
    ]
    found += [
        PartDifference(media_type="", name=name, how="different")
        for name in ("guards", "requires")
        if getattr(kept, name) != getattr(later, name)
    ]
    return Comparison(differing=len(found), parts=tuple(found[:PARTS_MAX]))


def _parts(descriptors: Sequence[Descriptor]) -> dict[tuple[str, str], list[str]]:
    """Return digests by media type and name; several parts may have no name."""
    parts: dict[tuple[str, str], list[str]] = {}
    for each in sorted(descriptors, key=lambda each: each.digest):
        parts.setdefault((each.media_type, each.name), []).append(each.digest)
    return parts


def _difference(
    media_type: str, name: str, ours: list[str] | None, theirs: list[str] | None
) -> PartDifference:
    how: Literal["different", "missing", "added"]
    how = "missing" if theirs is None else "added" if ours is None else "different"
    short = name if len(name) <= NAME_CHARS_MAX else name[: NAME_CHARS_MAX - 1] + "…"
    return PartDifference(media_type=media_type, name=short, how=how)
