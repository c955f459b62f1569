"""Entries of Triton's cache as they travel: what a load needs, and nothing that says where it was built.

A group, a kernel's files, is one entry. A native module, a launcher's or a driver's `.so`, is another.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping

from inductory_client.contract.descriptor import check_relative_path
from inductory_client.contract.errors import Malformed
from inductory_client.foreign import Files
from inductory_client.integrations.cubin import CUBIN, without_debug_text

GROUP = "__grp__"
"""How the name of the file begins that names a group's files. It holds absolute paths and never travels."""

_TEXTS = frozenset({"source", "ttir", "ttgir", "llir", "ptx", "amdgcn"})
"""The stages on the way to machine code, by suffix. Nothing reads them to run a kernel, and of a model's
kernels they are four fifths of the bytes; TRITON_STORE_BINARY_ONLY leaves them out, too."""

_PLACE = b"[TRITON]"
"""Stands for the folder that Triton is installed in, within metadata."""


def is_native(filename: str) -> bool:
    """Whether a file that was put alone is code for this machine and its Python."""
    return filename.endswith(".so")


def is_needed(filename: str) -> bool:
    """Whether a load of a group reads this file of it."""
    return filename.rpartition(".")[2] not in _TEXTS


def packed_group(filename: str, files: Mapping[str, bytes], installed: str) -> Files | None:
    """Return a group as it travels, `filename` being its metadata and `installed` where Triton is: without
    texts, those within its machine code included.

    None where its code isn't what its key says, since a file of the user's took the place of a stage, or
    where the metadata isn't what Triton writes.
    """
    metadata = files[filename]
    try:
        told = json.loads(metadata)
    except ValueError:
        return None
    if not isinstance(told, dict) or told.get("ir_override") or _PLACE in metadata:
        return None
    needed = {name: _slim(name, data) for name, data in files.items() if is_needed(name)}
    return needed | {filename: metadata.replace(_folder(installed), _PLACE)}


def _slim(name: str, data: bytes) -> bytes:
    return without_debug_text(data) if name.endswith(CUBIN) else data


def unpacked_group(filename: str, files: Mapping[str, bytes], installed: str) -> Files:
    """Return a group that travelled as it lies in Triton's folder. Raises Malformed."""
    _check_names(files)
    if filename not in files or len(files) < 2:
        raise Malformed(f"a group of Triton's has {sorted(files)}, and no {filename} with machine code")
    return {**files, filename: files[filename].replace(_PLACE, _folder(installed))}


def unpacked_native(filename: str, files: Mapping[str, bytes]) -> Files:
    """Return a native module that travelled, by its name. Raises Malformed."""
    if files.keys() != {filename}:
        raise Malformed(f"a native module of Triton's has {sorted(files)} where {filename} is expected")
    _check_names(files)
    return dict(files)


def _check_names(names: Iterable[str]) -> None:
    for name in names:
        if "/" in check_relative_path(name) or name.startswith(GROUP):
            raise Malformed(f"{name!r} is no file of an entry of Triton's")


def _folder(installed: str) -> bytes:
    """Return a path as it stands in JSON."""
    return json.dumps(installed)[1:-1].encode()
