"""Descriptors: media type, digest and size of a blob, and what it is called where it is used."""

from __future__ import annotations

from typing import Annotated

from msgspec import Meta, Struct

from .digest import Digest
from .errors import Malformed

PAYLOAD = "application/vnd.inductory.payload.v1"
"""An artifact's loadable Inductor bytes, normalised. Loading them runs code: verify first."""
NATIVE = "application/vnd.inductory.native.v1"
"""A shared library that the payload's source would otherwise be compiled to. Mapped and executed."""
LOADABLE_DISPATCH = "application/vnd.inductory.dispatch.v1"
"""What lets a start skip the capture: the one loaded blob of an artifact of backend `dynamo`. Loading it runs
code, as a payload's does."""
CACHE_FILE = "application/vnd.inductory.cache-file.v1"
"""A file of an entry in another program's cache (Triton's, Inductor's, vLLM's), by the name it has there.
Loading it may run code, as a payload's does."""
GRAPH = "application/vnd.inductory.graph.v1+json"
"""The canonical form of a submodule: what the graph digest is the digest of."""
PYTHON = "text/x-python"
"""Source to read: generated code, a blueprint, a dispatch as text."""
FILE = "application/octet-stream"
"""A file of a folder that another program wrote, kept as it is."""

LOADED = frozenset({PAYLOAD, NATIVE, LOADABLE_DISPATCH, CACHE_FILE})
"""The media types that a warm start needs; the others are there to be read."""

BLOB_BYTES_MAX = 1 << 30

Size = Annotated[int, Meta(ge=0, le=BLOB_BYTES_MAX)]


class Descriptor(Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """What a blob is (media type), which it is (digest), and how many bytes it has uncompressed."""

    media_type: Annotated[str, Meta(min_length=1, max_length=128)]
    digest: Digest
    size: Size
    name: Annotated[str, Meta(max_length=4096)] = ""
    """What its user calls it: a relative path for a file, the digest of its source for a native file."""


def check_relative_path(name: str) -> str:
    """Return `name` if it is a plain relative path below a folder. Raises Malformed.

    Whoever writes descriptors' names to disk calls this first: a name comes from another machine.
    """
    parts = name.split("/")
    if not name or "\\" in name or "\0" in name or any(part in ("", ".", "..") for part in parts):
        raise Malformed(f"{name!r} is not a relative path below the folder")
    return name
