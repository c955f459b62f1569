"""Targets: the factors of a machine and its software that decide generated code."""

from __future__ import annotations

from typing import Annotated

from msgspec import Meta, Struct

from .canonical_json import digest_of_json

TARGET_VERSION = 1

FactorName = Annotated[str, Meta(min_length=1, max_length=200)]
FactorValue = Annotated[str, Meta(max_length=4000)]


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
    """Return the factors on which the targets differ, by name."""
    names = sorted(ours.factors.keys() | theirs.factors.keys())
    pairs = ((name, ours.factors.get(name), theirs.factors.get(name)) for name in names)
    return tuple(FactorDifference(name, a, b) for name, a, b in pairs if a != b)
