"""Leases: who compiles a key, so that a fleet compiles it once.

A lease is asked for before a compile, renewed by heartbeats, and ends when the artifact is published, when it
is given back, or when it runs out. Times are durations, never instants: clocks needn't agree.
"""

from __future__ import annotations

from typing import Annotated

from msgspec import Meta, Struct

from .digest import Digest

LEASE_HEADER = "Inductory-Lease"
"""Carries the token of the lease under which an artifact was compiled."""
LEASES_MAX = 1000
"""Most keys in one message."""
LEASE_S_MAX = 600.0
WAIT_S_MAX = 60.0
"""Longest that one question waits for its answer."""
REASON_CHARS_MAX = 400

Holder = Annotated[str, Meta(min_length=1, max_length=128, pattern=r"^[A-Za-z0-9_.:@-]+$(?!\n)")]
Token = Annotated[str, Meta(min_length=1, max_length=64, pattern=r"^[0-9a-f]+$(?!\n)")]
Reason = Annotated[str, Meta(min_length=1, max_length=REASON_CHARS_MAX)]
Keys = Annotated[tuple[Digest, ...], Meta(max_length=LEASES_MAX)]


class LeasesWanted(Struct, frozen=True, forbid_unknown_fields=True, omit_defaults=True, kw_only=True):
    """Asks for the right to compile."""

    holder: Holder
    """Who asks: a name that no other process has, except those which compile in step with it."""
    keys: Keys
    seconds: Annotated[float, Meta(ge=1, le=LEASE_S_MAX)]
    """How long the leases are to last from now on, unless they are renewed."""
    together: bool = False
    """Whether to grant all that isn't published, or nothing: who compiles in step mustn't have a part."""


class Lease(Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    key: Digest
    token: Token
    """Fences: an artifact that comes with another one than the lease has now isn't kept."""


class HeldKey(Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """A key that somebody else compiles."""

    key: Digest
    expires_in_s: float
    """When it is free again unless its holder renews the lease."""


class FailedKey(Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """A key whose compile failed not long ago."""

    key: Digest
    reason: str
    retry_in_s: float
    """When it may be tried again, by one at a time."""


class Leased(Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """Who compiles what. Each key that was asked for is in one of these; where all were wanted together and
    others are in the way, those that are free are in none.
    """

    granted: tuple[Lease, ...] = ()
    held: tuple[HeldKey, ...] = ()
    published: tuple[Digest, ...] = ()
    failed: tuple[FailedKey, ...] = ()


class Heartbeat(Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """Says that leases are still needed."""

    leases: Annotated[tuple[Lease, ...], Meta(max_length=LEASES_MAX)]
    seconds: Annotated[float, Meta(ge=1, le=LEASE_S_MAX)]
    """How long they are to last from now on, unless they are renewed again."""


class LeasesRenewed(Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    keys: tuple[Digest, ...]
    """Those that are still the asker's. The others were published, or have passed to somebody else."""


class LeaseEnd(Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """A lease that is given back, its key not published."""

    key: Digest
    token: Token
    failure: Reason | None = None
    """Why the compile failed, if it did: others then don't try it for a while."""


class LeasesEnded(Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    leases: Annotated[tuple[LeaseEnd, ...], Meta(max_length=LEASES_MAX)]


class LeasesReleased(Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    released: int
    """How many of them were still alive."""


class KeysAwaited(Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """Asks to be told once any of these keys is no longer being compiled by somebody."""

    keys: Keys
    wait_s: Annotated[float, Meta(ge=0, le=WAIT_S_MAX)]
    """After so long the answer comes, whatever it is then."""


class Standing(Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """How keys stand. Each that was asked for is in one of these."""

    published: tuple[Digest, ...] = ()
    held: tuple[HeldKey, ...] = ()
    free: tuple[Digest, ...] = ()
    """Neither published nor being compiled by anybody who holds a lease."""
    failed: tuple[FailedKey, ...] = ()
