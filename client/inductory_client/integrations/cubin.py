"""A GPU kernel's machine code without the text that it carries for debuggers.

ptxas puts the kernel's PTX into a section of its own, two thirds of the file. No driver reads it to load or
run a kernel. It is blanked where it lies, so that no offset changes.
"""

from __future__ import annotations

import struct
from collections.abc import Iterator

CUBIN = ".cubin"
"""How the names of such files end."""

_HEADER = struct.Struct("<16sHHIQQQIHHHHHH")
_SECTION = struct.Struct("<IIQQQQIIQQ")
_DEBUG_TEXT = b".nv_debug_ptx_txt"
_ALLOCATED = 2
_PROGBITS = 1


def without_debug_text(data: bytes) -> bytes:
    """Return the kernel with blanks for its PTX; `data` itself where it isn't laid out as 64-bit ELF is."""
    if data[:6] != b"\x7fELF\x02\x01":
        return data
    blanked = bytearray(data)
    try:
        for at, size in _debug_texts(data):
            blanked[at : at + size] = bytes(size)
    except (struct.error, IndexError, ValueError):
        return data
    return bytes(blanked)


def _debug_texts(data: bytes) -> Iterator[tuple[int, int]]:
    """Yield where such sections lie, and how long they are. Raises ValueError where one leads outside."""
    header = _HEADER.unpack_from(data)
    table, size, count, names_index = header[6], header[11], header[12], header[13]
    if size != _SECTION.size:
        raise ValueError(size)
    sections = [_SECTION.unpack_from(data, table + index * size) for index in range(count)]
    names_at, names_size = sections[names_index][4:6]
    names = data[names_at : names_at + names_size]
    for name, kind, flags, _, at, length, *_ in sections:
        if names[name : names.index(b"\0", name)] != _DEBUG_TEXT:
            continue
        if kind != _PROGBITS or flags & _ALLOCATED or at + length > len(data):
            raise ValueError(name)
        yield at, length
