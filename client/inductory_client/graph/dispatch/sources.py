"""Sources: the files that a capture was traced through, by the names that every process imports them by."""

from __future__ import annotations

import importlib.util
import inspect
import sys
import types
from collections.abc import Iterable, Mapping, Set
from functools import lru_cache
from pathlib import Path

from inductory_client.contract.digest import digest_of
from inductory_client.graph.unsupported import Unsupported

_FACTORS = frozenset({"torch", "triton"}) | sys.stdlib_module_names
"""Packages whose versions or digests are factors of the target."""


def traced_sources(codes: Iterable[types.CodeType], seen: Set[types.CodeType]) -> dict[str, str]:
    """Return the digests of the files that `codes` stand in, by module. Raises Unsupported for code whose
    file no other process can find.

    Code that was made on the fly (a dataclass's `__init__`) has no file. It must be among `seen`: the code
    that is compared by its own digest.
    """
    names: set[str] = set()
    for code in codes:
        if code.co_filename.startswith("<"):
            if code not in seen:
                raise Unsupported(f"{code.co_qualname} was made on the fly, and nothing tells what of")
            continue
        module = inspect.getmodule(code)
        if module is None:
            raise Unsupported(f"the source of {code.co_qualname} belongs to no module")
        names.add(module.__name__)
    return {name: _required(name) for name in sorted(names) if name.partition(".")[0] not in _FACTORS}


def _required(name: str) -> str:
    digest = None if name == "__main__" else source_digest(name)
    if digest is None:
        raise Unsupported(f"the source of {name} can't be found by that name in another process")
    return digest


def changed_sources(recorded: Mapping[str, str]) -> list[str]:
    """Return the modules whose files aren't what was recorded, by name."""
    return [name for name, digest in recorded.items() if source_digest(name) != digest]


def source_digest(name: str) -> str | None:
    """Return the digest of a module's file as it is now; None where there is none. Imports no more than the
    packages above it.
    """
    module = sys.modules.get(name)
    path = getattr(module, "__file__", None)
    if path is None:
        try:
            found = importlib.util.find_spec(name)
        except (ImportError, ValueError):
            return None
        path = None if found is None else found.origin
    if path is None:
        return None
    try:
        state = Path(path).stat()
        return _digest(path, state.st_mtime_ns, state.st_size)
    except OSError:
        return None


@lru_cache(maxsize=10_000)
def _digest(path: str, modified_ns: int, size: int) -> str:
    return digest_of(Path(path).read_bytes())
