"""Cursors: where a page of an answer ended, opaque to whoever carries it."""

from __future__ import annotations

import base64
import binascii
import json
from collections.abc import Sequence
from typing import Any, TypeVar

import msgspec
from inductory_client.contract.digest import digest_of
from inductory_client.contract.errors import Malformed

T = TypeVar("T")


def cursor_at(place: Sequence[Any], question: object) -> str:
    """Return the cursor that continues after `place` in the answer to `question`: what tells it apart."""
    told = json.dumps((_tag(question), place), separators=(",", ":"))
    return base64.urlsafe_b64encode(told.encode()).decode().rstrip("=")


def place_of(cursor: str | None, place_type: type[T], question: object) -> T | None:
    """Read what `cursor_at` wrote for the same question. Raises Malformed."""
    if cursor is None:
        return None
    try:
        text = base64.b64decode(cursor + "=" * (-len(cursor) % 4), altchars=b"-_", validate=True)
        tag, place = msgspec.json.decode(text, type=tuple[str, place_type])  # type: ignore[valid-type]
    except (binascii.Error, ValueError, msgspec.MsgspecError) as error:
        raise Malformed("the cursor isn't one that this store gave") from error
    if tag != _tag(question):
        raise Malformed("the cursor is of another question: send it with the filters that it was given for")
    return place


def _tag(question: object) -> str:
    return digest_of(repr(question).encode())[:16]
