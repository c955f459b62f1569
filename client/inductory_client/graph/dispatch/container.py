"""The container: how a dispatch travels.

8 bytes    magic
4 bytes    length of the header, big-endian
header     JSON of `Header`: all that is compared before anything is unpickled
the rest   torch's state of the guards, facts and code, pickled
"""

from __future__ import annotations

from typing import Any

import msgspec
from msgspec import Struct

from inductory_client.contract.digest import Digest
from inductory_client.contract.errors import LoadFailed

from .signature import Signature

MAGIC = b"indyDSP\x01"
VERSION = 2
HEADER_BYTES_MAX = 16 << 20


class Example(Struct, frozen=True, forbid_unknown_fields=True):
    """A tensor that attention may be called with."""

    dtype: str
    sizes: tuple[int, ...]
    """As long as the canonical lengths."""
    strides: tuple[int, ...]


class Called(Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """A part that the outer graph calls."""

    artifact: Digest | None = None
    """Key of the piece; None for attention, which is run as it was captured."""
    guards: tuple[str, ...] = ()
    """The conditions that compiling it added; the dispatch's own guards hold them."""
    bare: bool = False
    """Whether it returns one tensor and no tuple."""
    form: Any = None
    """Attention's canonical form."""
    orders: tuple[tuple[int, ...] | None, ...] = ()
    """Attention's layouts: the order of each output's dimensions in memory."""
    examples: tuple[Example | int, ...] = ()
    """What attention on a GPU is woken with before it is needed, see `waking.py`; none where it isn't."""


class Header(Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """What a dispatch says of itself, to be compared with the process that would run it."""

    version: int = VERSION
    name: str
    """The function that was captured, for people."""
    signature: Signature
    devices: tuple[str, ...]
    """Types of the devices that the graph computes on."""
    sources: dict[str, Digest]
    """Digests of the source files that were traced through, by module."""
    classes: dict[str, str]
    """Digests of what the classes do that guards are on, by module and name."""
    operators: tuple[str, ...]
    """Custom operators of the graph, with their schemas."""
    globals: dict[str, str | None]
    """Modules that code and guards find by these names; None is the builtins."""
    graph: str
    """The global under which the code finds the outer graph."""
    outer: Any
    """The outer graph's canonical form."""
    parts: dict[str, Called]
    """What the outer graph calls, as it is called there."""


def pack(header: Header, payload: bytes) -> bytes:
    """Return the container. Equal contents give equal bytes."""
    encoded = msgspec.json.encode(header, order="sorted")
    return MAGIC + len(encoded).to_bytes(4, "big") + encoded + payload


def unpack(data: bytes) -> tuple[Header, bytes]:
    """Read a container without running anything of it. Raises LoadFailed."""
    start = len(MAGIC) + 4
    length = int.from_bytes(data[len(MAGIC) : start], "big")
    if not data.startswith(MAGIC) or length > HEADER_BYTES_MAX or len(data) < start + length:
        raise LoadFailed("this isn't a dispatch of a version that is known here")
    try:
        header = msgspec.json.decode(data[start : start + length], type=Header)
    except (msgspec.DecodeError, ValueError, RecursionError) as error:
        raise LoadFailed(f"the dispatch's header can't be read: {error}") from error
    if header.version != VERSION:
        raise LoadFailed(f"the dispatch is of version {header.version}, not {VERSION}")
    return header, data[start + length :]
