"""Files laid out as a kernel's machine code is."""

from __future__ import annotations

import struct


def elf(sections: list[tuple[bytes, bytes, int]]) -> bytes:
    """A 64-bit ELF of these sections: name, bytes, flags."""
    names = b"\0" + b"".join(name + b"\0" for name, _, _ in sections) + b".names\0"
    body, table = b"", [bytes(64)]
    for name, data, flags in [*sections, (b".names", names, 0)]:
        at = 64 + len(body)
        table.append(
            struct.pack("<IIQQQQIIQQ", names.index(b"\0" + name) + 1, 1, flags, 0, at, len(data), 0, 0, 1, 0)
        )
        body += data
    header = struct.pack(
        "<16sHHIQQQIHHHHHH",
        *(b"\x7fELF\x02\x01\x01", 2, 190, 1, 0, 0, 64 + len(body), 0, 64, 0, 0, 64),
        *(len(table), len(table) - 1),
    )
    return header + body + b"".join(table)


KERNEL = elf([(b".text.k", b"machine code", 6), (b".nv_debug_ptx_txt", b".version 9.0", 0)])
KERNEL_BLANKED = KERNEL.replace(b".version 9.0", bytes(12))
