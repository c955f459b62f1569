"""What upstream said of keys that somebody waits for."""

from __future__ import annotations

from collections.abc import Collection, Iterable
from typing import Any, NamedTuple

from inductory_client.contract.lease import HeldKey, Standing

_KINDS = Standing.__struct_fields__


def keys_of(found: Standing) -> frozenset[str]:
    """Return the keys that an answer speaks of."""
    held, failed = (each.key for each in found.held), (each.key for each in found.failed)
    return frozenset((*found.published, *found.free, *held, *failed))


class _Word(NamedTuple):
    kind: str
    what: Any
    """What stands for the key in a Standing of this kind."""
    at_s: float


class Said:
    """The last word on each key. Times are of any one clock, in seconds."""

    def __init__(self) -> None:
        self._words: dict[str, _Word] = {}

    def note(self, keys: Collection[str], found: Standing, now_s: float) -> None:
        """Note what an answer says of `keys`, and nothing else that it may say."""
        for kind in _KINDS:
            for what in getattr(found, kind):
                key = what if isinstance(what, str) else what.key
                if key in keys:
                    self._words[key] = _Word(kind, what, now_s)

    def held(self, keys: Iterable[str]) -> frozenset[str]:
        """Return those of `keys` that were being compiled when last heard of."""
        return frozenset(key for key in keys if key in self._words and self._words[key].kind == "held")

    def standing(self, keys: Iterable[str], now_s: float) -> Standing:
        """Return how keys stand that all were spoken of; a lease has grown older since."""
        found: dict[str, list[Any]] = {kind: [] for kind in _KINDS}
        for kind, what, at_s in map(self._words.__getitem__, keys):
            if kind == "held":
                left_s = max(0.0, what.expires_in_s - (now_s - at_s))
                found[kind].append(HeldKey(key=what.key, expires_in_s=left_s))
            else:
                found[kind].append(what)
        return Standing(**{kind: tuple(each) for kind, each in found.items()})

    def forget(self, key: str) -> None:
        self._words.pop(key, None)
