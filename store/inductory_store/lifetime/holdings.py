"""What a namespace holds, as a graph: builds name manifests and dispatches, manifests name artifacts."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import NamedTuple

from inductory_client.contract.lifetime import Kind

KINDS: tuple[Kind, ...] = ("build", "manifest", "artifact")
"""In the order in which they go: what names others goes before them."""


class Name(NamedTuple):
    """A build, a manifest or an artifact of a namespace."""

    kind: Kind
    key: str


@dataclass(frozen=True, slots=True)
class Held:
    """What is held under a name."""

    used_at: float
    """When it was last used, as far as that was noted, or published."""
    condemned_at: float | None = None
    names: tuple[Name, ...] = ()
    blobs: tuple[str, ...] = ()


@dataclass(frozen=True)
class Rule:
    """How long a namespace keeps what nobody uses, and how much; None for as long and as much as there is."""

    unused_s: float | None = None
    bytes_max: int | None = None


@dataclass(frozen=True)
class Holdings:
    """All that a namespace holds, at one moment. Whatever is named is among it."""

    namespace: str
    held: Mapping[Name, Held] = field(default_factory=dict)
    sizes: Mapping[str, int] = field(default_factory=dict)
    """Packed bytes of the blobs, by digest."""
    roots: frozenset[Name] = frozenset()
    rule: Rule = Rule()


def last_uses(held: Mapping[Name, Held]) -> dict[Name, float]:
    """Return when each was last used, also by way of others.

    Who uses a build uses all that it names. And who asked for every piece of a build has used it, without
    a word of it: so a build and a manifest were used when the least used of their artifacts was.
    """
    uses = {name: each.used_at for name, each in held.items()}
    ordered = sorted(held, key=lambda name: KINDS.index(name.kind))
    for name in reversed(ordered):
        if name.kind != "artifact" and held[name].names:
            uses[name] = max(uses[name], min(uses[each] for each in held[name].names))
    for name in ordered:
        for each in held[name].names:
            uses[each] = max(uses[each], uses[name])
    return uses


def reached(held: Mapping[Name, Held], roots: frozenset[Name]) -> set[Name]:
    """Return the roots that there are, and all that they name."""
    found: set[Name] = set()
    waiting = [name for name in roots if name in held]
    while waiting:
        name = waiting.pop()
        if name not in found:
            found.add(name)
            waiting.extend(held[name].names)
    return found
