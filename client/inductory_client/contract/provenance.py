"""Provenance: who built an artifact, with what, and how long it took."""

from __future__ import annotations

from typing import Annotated

from msgspec import Meta, Struct


class Provenance(Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """How an artifact came to be. Informative: nothing is decided by it, and it isn't signed."""

    builder: Annotated[str, Meta(max_length=200)]
    """What made it: `torch.compile`, `inductory compile`, `vllm`."""
    created_at: Annotated[str, Meta(max_length=40)]
    """RFC 3339, UTC."""
    compile_seconds: Annotated[float, Meta(ge=0, le=1e6)] | None = None
    """What a hit saves; None where it isn't known."""
    versions: Annotated[dict[str, str], Meta(max_length=50)] = {}
