"""Targets: the factors of a machine and its software that decide generated code."""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Annotated

from msgspec import Meta, Struct

from .canonical_json import digest_of_json

TARGET_VERSION = 1

FactorName = Annotated[str, Meta(min_length=1, max_length=200)]
FactorValue = Annotated[str, Meta(max_length=4000)]

_MACHINE_AND_SOFTWARE = frozenset({"cpu", "cuda", "libc", "machine", "python", "torch", "triton"})
"""How the names of factors begin that no setting changes."""
_VERSION = re.compile(r"[0-9]{1,9}(\.[0-9]{1,9}){0,7}")


class Target(Struct, frozen=True, forbid_unknown_fields=True):
    """Factors by name, so that a miss and a refusal can be explained; all values are text."""

    factors: Annotated[dict[FactorName, FactorValue], Meta(max_length=500)]

    @property
    def fingerprint(self) -> str:
        """Digest of the factors: equal fingerprints may share code, others may not."""
        return digest_of_json({"version": TARGET_VERSION, "factors": self.factors})


class FactorDifference(Struct, frozen=True, forbid_unknown_fields=True):
    """One factor on which two targets differ; None where a side doesn't have it."""

    name: str
    ours: str | None
    theirs: str | None

    def __str__(self) -> str:
        return f"{self.name}: {self.ours or 'absent'} here, {self.theirs or 'absent'} there"


def differences(ours: Target, theirs: Target) -> tuple[FactorDifference, ...]:
    """Return the factors on which the targets differ: those of machine and software, then settings, by name.

    Whoever tells of a few only tells of what most likely explains the rest.
    """
    names = sorted(ours.factors.keys() | theirs.factors.keys(), key=_place)
    pairs = ((name, ours.factors.get(name), theirs.factors.get(name)) for name in names)
    return tuple(FactorDifference(name, a, b) for name, a, b in pairs if a != b)


def _place(name: str) -> tuple[bool, str]:
    return name.partition(".")[0] not in _MACHINE_AND_SOFTWARE, name


def unmet(requires: Mapping[str, str], have: Mapping[str, str]) -> tuple[str, ...]:
    """Return those of the least versions in `requires` that a machine which has `have` falls short of.

    Each is a text that names the factor and both versions. Versions are compared number by number: 12.10 is
    later than 12.9, and 12 is 12.0. A name that isn't in `have`, and a version on either side that isn't
    dotted numbers, count as unmet: what can't be compared can't be relied on.
    """
    return tuple(
        f"{name}: {have.get(name, 'absent')} here, at least {least} needed"
        for name, least in sorted(requires.items())
        if not _reaches(have.get(name, ""), least)
    )


def _reaches(version: str, least: str) -> bool:
    ours, theirs = _numbers(version), _numbers(least)
    return ours is not None and theirs is not None and ours >= theirs


def _numbers(version: str) -> tuple[int, ...] | None:
    """Return a dotted version as numbers, without zeros at its end."""
    if _VERSION.fullmatch(version) is None:
        return None
    numbers = [int(part) for part in version.split(".")]
    while numbers and numbers[-1] == 0:
        numbers.pop()
    return tuple(numbers)
