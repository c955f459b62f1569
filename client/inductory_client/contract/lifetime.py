"""How long a store keeps things: roots, and a namespace's rule."""

from __future__ import annotations

from typing import Annotated, Literal

from msgspec import Meta, Struct

from .build import Namespace
from .digest import Digest

ROOT_S_MAX = 10 * 366 * 86_400.0
"""A root that is to last longer has no end."""
UNUSED_DAYS_MAX = 36_500
BYTES_MAX = 1 << 60

Kind = Literal["build", "manifest", "artifact"]
Label = Annotated[str, Meta(max_length=200)]


class RootWanted(Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """Asks that something is kept, with all that it names."""

    label: Label = ""
    """Why, for people."""
    expires_in_s: Annotated[float, Meta(gt=0, le=ROOT_S_MAX)] | None = None
    """From now; None for until it is removed."""


class Root(Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """What is never deleted until the root is removed or expires, with all that it names."""

    namespace: Namespace
    kind: Kind
    key: Digest
    label: Label
    created_at: str
    expires_at: str | None
    """None for never."""
    expired: bool
    """It keeps nothing any more, and is gone once what it named is."""


class RootStored(Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    root: Root
    created: bool


class RootPage(Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    roots: tuple[Root, ...]
    next: str | None
    """Pass it as `cursor` for the next page; None at the end."""


class Retention(Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """How long a namespace keeps what nobody uses, and how much; None for as long and as much as there is."""

    unused_days: Annotated[int, Meta(ge=1, le=UNUSED_DAYS_MAX)] | None = None
    bytes_max: Annotated[int, Meta(ge=0, le=BYTES_MAX)] | None = None
    """Packed. What was used longest ago goes first."""


class RetentionKept(Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """A namespace's rule, and how much there is."""

    namespace: Namespace
    retention: Retention
    used_bytes: int
    """Packed, of all blobs that the namespace names; others may name them, too."""
