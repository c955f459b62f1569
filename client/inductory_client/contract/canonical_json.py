"""One JSON text a value, so that equal values have equal digests and signatures."""

from __future__ import annotations

import json
from typing import Any

import msgspec

from .digest import digest_of


def canonical_json(value: Any) -> bytes:
    """Encode `value` as JSON with sorted keys, no spaces, and UTF-8 unescaped.

    Floats are refused with TypeError: their text is a matter of taste, so a float that decides a key is
    spelt by its owner (`float.hex`). So are keys that aren't strings, which JSON would silently turn into
    strings.
    """
    builtins = msgspec.to_builtins(value)
    _refuse_ambiguous(builtins)
    text = json.dumps(builtins, sort_keys=True, separators=(",", ":"), ensure_ascii=False, allow_nan=False)
    return text.encode()


def digest_of_json(value: Any) -> str:
    """Return the digest of the canonical JSON of `value`."""
    return digest_of(canonical_json(value))


# What nothing is wrong with, by exact type, so that most values cost one look: keys are made for every piece.
_PLAIN = frozenset({str, int, bool, type(None)})


def _refuse_ambiguous(value: Any) -> None:
    to_see = [value]
    while to_see:
        seen = to_see.pop()
        if type(seen) in _PLAIN:
            continue
        if isinstance(seen, dict):
            for key in seen:
                if not isinstance(key, str):
                    raise TypeError(f"canonical JSON has string keys only, not {key!r}")
            to_see.extend(seen.values())
        elif isinstance(seen, (list, tuple)):
            to_see.extend(seen)
        elif isinstance(seen, float):
            raise TypeError(f"canonical JSON has no floats; spell {seen!r} with float.hex()")
