"""Cursors: where a page ended, opaque to whoever carries it."""

from __future__ import annotations

import base64
import binascii
import json
from collections.abc import Sequence
from typing import Any, TypeVar

import msgspec
from inductory_client.contract.errors import Malformed

T = TypeVar("T")


def cursor_at(place: Sequence[Any]) -> str:
    """Return the cursor that continues after `place`."""
    return base64.urlsafe_b64encode(json.dumps(place, separators=(",", ":")).encode()).decode().rstrip("=")


def place_of(cursor: str | None, place_type: type[T]) -> T | None:
    """Read what `cursor_at` wrote. Raises Malformed."""
    if cursor is None:
        return None
    try:
        text = base64.b64decode(cursor + "=" * (-len(cursor) % 4), altchars=b"-_", validate=True)
        return msgspec.json.decode(text, type=place_type)
    except (binascii.Error, ValueError, msgspec.MsgspecError) as error:
        raise Malformed("the cursor isn't one that this store gave") from error
