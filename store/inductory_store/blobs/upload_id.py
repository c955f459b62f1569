"""The name of an upload into the bucket, which says all that the store must remember of it.

    5f3e1a2b-400000-60303ae22b998861bce3b28f33eec1be: to be finished by, bytes unpacked, random

It is the object's name, too, and an address is signed for that one. So whichever replica is told a name finds
what was said when it was given out, and under a name that was bent there is nothing.
"""

from __future__ import annotations

import re
import secrets
from dataclasses import dataclass

_TEXT = re.compile(r"([0-9a-f]{1,10})-([0-9a-f]{1,9})-([0-9a-f]{32})")


@dataclass(frozen=True)
class UploadId:
    """An upload of a blob of `size` bytes, uncompressed."""

    finish_by: int
    """Seconds since the epoch; afterwards it is nobody's any more."""
    size: int
    nonce: str

    def __str__(self) -> str:
        return f"{self.finish_by:x}-{self.size:x}-{self.nonce}"


def new_upload_id(finish_by: float, size: int) -> UploadId:
    """Return a name that nobody guesses."""
    return UploadId(int(finish_by), size, secrets.token_hex(16))


def parse_upload_id(text: str) -> UploadId | None:
    """Return what `text` names, or None where that is no upload."""
    found = _TEXT.fullmatch(text)
    if found is None:
        return None
    upload = UploadId(int(found[1], 16), int(found[2], 16), found[3])
    # One upload has one name: no zeros before a number.
    return upload if str(upload) == text else None
