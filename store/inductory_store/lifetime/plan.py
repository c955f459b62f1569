"""The plan of what goes: which names are condemned, rescued and dropped, and why each."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping
from typing import Literal

from inductory_client.contract.lifetime import Kind
from msgspec import Struct

from .holdings import KINDS, Holdings, Name, last_uses, reached

Why = Literal["unused", "quota"]
"""unused: for longer than the namespace keeps such; quota: the namespace has more bytes than it may."""


class Fate(Struct, frozen=True):
    """What becomes of a name, and why."""

    kind: Kind
    key: str
    why: Why
    used_at: float
    bytes: int
    """Packed, of the blobs that nothing else names in this namespace once this is gone."""
    condemned_at: float | None = None

    @property
    def name(self) -> Name:
        return Name(self.kind, self.key)


class Rescue(Struct, frozen=True):
    """A name that was condemned and stays: it was used again, or named, or the rule is another."""

    kind: Kind
    key: str

    @property
    def name(self) -> Name:
        return Name(self.kind, self.key)


class Plan(Struct, frozen=True):
    """What becomes of a namespace's names. All else stays as it is."""

    namespace: str
    kept_bytes: int
    """Packed, of what stays."""
    over_bytes: int
    """By how much that is more than the namespace may have: roots hold it."""
    condemn: tuple[Fate, ...] = ()
    rescue: tuple[Rescue, ...] = ()
    drop: tuple[Fate, ...] = ()
    """Condemned for longer than the grace. What names others stands before them."""


def plan(holdings: Holdings, now: float, grace_s: float) -> Plan:
    """Return what becomes of a namespace.

    What was used longest ago goes first, and whoever names something goes before it, so what stays never
    names what goes. Roots and all that they name stay, however much that is.
    """
    held, rule = holdings.held, holdings.rule
    uses, safe = last_uses(held), reached(held, holdings.roots)
    # A name was used no later than what it names, so this has it in front, too.
    ordered = sorted(held, key=lambda name: (uses[name], KINDS.index(name.kind), name.key))
    counts = Counter(digest for each in held.values() for digest in each.blobs)
    kept_bytes = sum(holdings.sizes.get(digest, 0) for digest in counts)
    going: dict[Name, Fate] = {}
    for name in ordered:
        if name in safe:
            continue
        unused = rule.unused_s is not None and now - uses[name] > rule.unused_s
        if not unused and (rule.bytes_max is None or kept_bytes <= rule.bytes_max):
            continue
        freed = _freed(held[name].blobs, counts, holdings.sizes)
        kept_bytes -= freed
        why: Why = "unused" if unused else "quota"
        going[name] = Fate(name.kind, name.key, why, uses[name], freed, held[name].condemned_at)
    over_bytes = 0 if rule.bytes_max is None else max(0, kept_bytes - rule.bytes_max)
    return Plan(
        namespace=holdings.namespace,
        kept_bytes=kept_bytes,
        over_bytes=over_bytes,
        condemn=tuple(fate for fate in going.values() if fate.condemned_at is None),
        rescue=tuple(
            Rescue(*name) for name in ordered if name not in going and held[name].condemned_at is not None
        ),
        drop=tuple(_droppable(holdings, going, now - grace_s)),
    )


def _freed(blobs: Iterable[str], counts: Counter[str], sizes: Mapping[str, int]) -> int:
    """Take one name of each blob away, and return the bytes of those that nothing names now."""
    freed = 0
    for digest in blobs:
        counts[digest] -= 1
        if not counts[digest]:
            freed += sizes.get(digest, 0)
    return freed


def _droppable(holdings: Holdings, going: dict[Name, Fate], condemned_until: float) -> Iterable[Fate]:
    """Return those whose grace is over, and that of all who name them, in the order in which they can go."""
    still_named: set[Name] = set()
    for kind in KINDS:
        for name, each in holdings.held.items():
            if name.kind != kind:
                continue
            fate = going.get(name)
            over = fate is not None and fate.condemned_at is not None and fate.condemned_at <= condemned_until
            if fate is None or not over or name in still_named:
                still_named.update(each.names)
            else:
                yield fate
