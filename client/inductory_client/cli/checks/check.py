"""What a check says."""

from __future__ import annotations

from typing import Literal

from msgspec import Struct

State = Literal["ok", "warn", "fail"]


class Check(Struct, frozen=True):
    """One finding: `warn` works but costs something, `fail` keeps Inductory from doing its job."""

    name: str
    state: State
    what: str
    todo: str = ""
    """What to do about it; empty where nothing needs to be done."""
