"""Which entries this process used, so that the next start of the same model can ask for them at once."""

from __future__ import annotations

from inductory_client.fork import ForkLock

USED_MAX = 10_000
"""More aren't remembered: each then costs its own question."""

_LOCK = ForkLock()
_USED: dict[str, None] = {}


def used_keys() -> frozenset[str]:
    """Return the keys of the entries that Triton was given here, or made here and shared."""
    with _LOCK:
        return frozenset(_USED)


def note_used(key: str) -> None:
    """Remember that an entry was used."""
    with _LOCK:
        if len(_USED) < USED_MAX:
            _USED[key] = None
