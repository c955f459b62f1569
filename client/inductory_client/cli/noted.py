"""Which of a node's notes of misses somebody means."""

from __future__ import annotations

from collections.abc import Sequence

from inductory_client.contract.errors import BadSettings
from inductory_client.contract.target import Target
from inductory_client.misses import Noted

from .store_access import PREFIX_DIGITS_MIN

PAUSE_S = 900.0
"""Misses with a longer pause between them aren't of one start."""
NAMED_MAX = 20


def named(noted: Sequence[Noted], name: str) -> Noted | None:
    """Return the miss that `name` means: an artifact key, a key as its scheme spells it, or the beginning of
    either. None where there is none; raises BadSettings for several, and for a beginning that is too short.
    """
    exact = [each for each in noted if name in _names(each)]
    if not exact and len(name) < PREFIX_DIGITS_MIN:
        raise BadSettings(f"give at least the first {PREFIX_DIGITS_MIN} digits of a key")
    found = exact or [each for each in noted if any(key.startswith(name) for key in _names(each))]
    if len(found) > 1:
        raise BadSettings(several_text(name, [each.missed.key for each in found]))
    return found[0] if found else None


def last_start(noted: Sequence[Noted]) -> list[Noted]:
    """Return the misses of the last start, of all its processes: the newest ones, back to a pause."""
    last: list[Noted] = []
    for each in reversed(noted):
        if last and last[-1].missed.at - each.missed.at > PAUSE_S:
            break
        last.append(each)
    return last[::-1]


def targets_of(noted: Sequence[Noted]) -> list[Target]:
    """Return the targets that something was missed for, each once."""
    return list({each.target.fingerprint: each.target for each in noted}.values())


def several_text(name: str, keys: Sequence[str]) -> str:
    """Say that a name means several artifacts, and which."""
    listed = "".join(f"\n{key}" for key in keys[:NAMED_MAX])
    return f"{name!r} means {len(keys)} artifacts; name one by its key:{listed}"


def _names(noted: Noted) -> tuple[str, ...]:
    parts = noted.missed.parts
    scheme_key = None if parts is None else parts.scheme_key
    return (noted.missed.key,) if scheme_key is None else (noted.missed.key, scheme_key)
