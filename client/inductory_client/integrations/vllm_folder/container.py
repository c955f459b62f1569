"""What torch writes to a file around its pickles: fields with their lengths before them, and a checksum.

part    checksum | "CacheCompiledArtifact" | torch's key | its own key | entries
        checksum | "AOTCompiledArtifact"   | torch's key | pickle
entries checksum | version | (kind | count | (key | bytes) ...) ...

Kinds and keys, but for torch's, are texts in base64.
"""

from __future__ import annotations

import base64
import zlib
from collections.abc import Callable

from inductory_client.contract.errors import Malformed

from .pickles import Changes, is_pickle, rewrite_pickle

_CHECKSUM = 4
_NUMBER = 8
_VERSION = 1
_PARTS = {b"CacheCompiledArtifact": 4, b"AOTCompiledArtifact": 3}
"""How many fields there are, by the first."""

Change = Callable[[bytes], bytes]


def rewrite_part(data: bytes, changes: Changes) -> bytes:
    """Return a file of torch's, a pickle or a part, with changed constants, and keys changed as texts are.
    Raises Malformed where it is neither.
    """

    def pickled(entry: bytes) -> bytes:
        return rewrite_pickle(entry, changes) if is_pickle(entry) else entry

    if is_pickle(data):
        return pickled(data)
    return rewrite_container(data, pickled, lambda key: changes.text("", key))


def rewrite_container(data: bytes, change: Change, key: Callable[[str], str] = lambda value: value) -> bytes:
    """Return a part with `change(bytes)` for its pickle or for each of its entries, and `key(text)` for its
    own key and the entries'.

    Raises Malformed where it isn't laid out as above.
    """
    reader = _Reader(data)
    fields = [reader.field()]
    count = _PARTS.get(fields[0])
    if count is None:
        raise Malformed("this isn't a part that torch wrote")
    fields += [reader.field() for _ in range(count - 1)]
    reader.finish()
    if count == 4:
        fields[-2:] = [_changed(fields[-2], key), _rewrite_entries(fields[-1], change, key)]
    else:
        fields[-1] = change(fields[-1])
    return _sealed(b"".join(map(_field, fields)))


def _rewrite_entries(data: bytes, change: Change, key: Callable[[str], str]) -> bytes:
    reader = _Reader(data)
    if reader.number() != _VERSION:
        raise Malformed("a part's entries are of a version that isn't known")
    written = [_VERSION.to_bytes(_NUMBER, "big")]
    while not reader.finished:
        kind, count = reader.field(), reader.number()
        written += [_field(kind), count.to_bytes(_NUMBER, "big")]
        for _ in range(count):
            written += [_field(_changed(reader.field(), key)), _field(change(reader.field()))]
    return _sealed(b"".join(written))


def _changed(encoded: bytes, key: Callable[[str], str]) -> bytes:
    try:
        text = base64.b64decode(encoded, validate=True).decode()
    except ValueError:
        return encoded  # no text that is changed here
    changed = key(text)
    return encoded if changed == text else base64.b64encode(changed.encode())


class _Reader:
    """Reads fields one after the other. Raises Malformed past the end, and at a wrong checksum."""

    def __init__(self, data: bytes) -> None:
        if data[:_CHECKSUM] != zlib.crc32(data[_CHECKSUM:]).to_bytes(_CHECKSUM, "big"):
            raise Malformed("a part's checksum is wrong")
        self._data = data
        self._at = _CHECKSUM

    @property
    def finished(self) -> bool:
        return self._at == len(self._data)

    def number(self) -> int:
        return int.from_bytes(self._take(_NUMBER), "big")

    def field(self) -> bytes:
        return self._take(self.number())

    def finish(self) -> None:
        if not self.finished:
            raise Malformed("something follows the end of a part")

    def _take(self, size: int) -> bytes:
        if size > len(self._data) - self._at:
            raise Malformed("a part is cut short")
        self._at += size
        return self._data[self._at - size : self._at]


def _field(data: bytes) -> bytes:
    return len(data).to_bytes(_NUMBER, "big") + data


def _sealed(data: bytes) -> bytes:
    return zlib.crc32(data).to_bytes(_CHECKSUM, "big") + data
