"""Identity (SHA-256) and quick checks (xxh3-128) of bytes."""

from __future__ import annotations

import hashlib
import re
from typing import Annotated

from msgspec import Meta

DIGEST_PATTERN = "^[0-9a-f]{64}$"
Digest = Annotated[
    str,
    Meta(
        pattern=DIGEST_PATTERN,
        max_length=64,  # `$` also matches before a newline at the end
        description="SHA-256 of the uncompressed bytes, 64 lower-case hex digits",
        examples=["ab" * 32],
    ),
]

_DIGEST = re.compile(r"[0-9a-f]{64}")


def digest_of(data: bytes | memoryview) -> str:
    """Return the SHA-256 of `data` as 64 lower-case hex digits: a blob's identity; trust rests on it."""
    return hashlib.sha256(data).hexdigest()


def is_digest(text: str) -> bool:
    return _DIGEST.fullmatch(text) is not None


def checksum_of(data: bytes | memoryview) -> bytes:
    """Return the 16-byte xxh3-128 of `data`.

    A cheap check for accidental damage (scans, transfer frames). Never identity, never trust.
    """
    import xxhash

    return xxhash.xxh3_128_digest(data)
