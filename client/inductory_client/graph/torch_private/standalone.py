"""torch's standalone artifacts, as an engine compiles them, and the keys that torch gives them."""

# mypy: disable-error-code="attr-defined,no-untyped-call"

from __future__ import annotations

import os
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import torch

from inductory_client.graph.device_source import SourceNames

_PREFIX = "a"
"""Of AOTAutograd's keys, as torch 2.11 writes it and 2.13 names it; one drawn by lot is a number."""


@contextmanager
def watched_cache_keys(seen: Callable[[str], None]) -> Iterator[None]:
    """Call `seen` with each key that AOTAutograd gives a graph inside; what it raises ends the compile.

    Whoever has put a function around torch's own before is called first. A key that torch drew by lot, since
    it could make none, isn't told.
    """
    from torch._functorch._aot_autograd import autograd_cache

    inner = autograd_cache.autograd_cache_key

    def watched(*args: Any, **kwargs: Any) -> Any:
        made = inner(*args, **kwargs)
        if made is not None and made[0].startswith(_PREFIX):
            seen(made[0])
        return made

    autograd_cache.autograd_cache_key = watched
    try:
        yield
    finally:
        autograd_cache.autograd_cache_key = inner


def serialize_standalone(compiled: Any) -> bytes:
    """Return an AOTCompiledArtifact as bytes that `deserialize_standalone` takes."""
    with torch._functorch.config.patch("bundled_autograd_cache", True):
        data: bytes = compiled.serialize()
    return data


def deserialize_standalone(verified: bytes) -> Any:
    """Return the AOTCompiledArtifact that was serialised. Runs code: for verified bytes alone."""
    from torch._inductor.standalone_compile import AOTCompiledArtifact

    return AOTCompiledArtifact.deserialize(verified)


def names_of_source(source: str) -> SourceNames:
    """Return what torch calls a source that it generated, a kernel's or a module's."""
    from torch._inductor.async_compile import CompiledTritonKernels
    from torch._inductor.codecache import code_hash
    from torch._inductor.runtime.autotune_cache import AutotuneCache

    file = code_hash(source.strip())
    only_here: Any = {"autotune_local_cache": True, "autotune_remote_cache": False}
    tuned: Any = AutotuneCache.create(only_here, f"{file}.py", "")
    return SourceNames(file, CompiledTritonKernels.key(source), os.path.basename(tuned.local_cache[1]))


def generated_modules() -> list[str]:
    """Return the files of the modules that Inductor generated and this process has loaded, in that order."""
    codecache = sys.modules.get("torch._inductor.codecache")
    return [str(module.__file__) for module in codecache.PyCodeCache.modules] if codecache else []
