"""torch's own remote caches: giving them another place to look than Redis.

Apart from `torch_private`, because it acts inside of an import of torch's: what that package imports, Dynamo
above all, is half made then.
"""

from __future__ import annotations

import importlib
from types import ModuleType
from typing import Any, Protocol

REMOTE_CACHES = "torch._inductor.remote_cache"
"""The module that holds them; whatever compiles imports it first."""

_SERVED = ("RemoteFxGraphCache", "RemoteAOTAutogradCache", "RemoteBundledAutotuneCache")
# Not RemoteAutotuneCache: it is asked once a kernel, by processes of the compiler's; the bundled one holds
# the same and is asked once a graph. And not RemoteDynamoPGOCache, whose entries change under one key.

_SWITCHES = (
    ("torch._inductor.config", "fx_graph_remote_cache"),
    ("torch._functorch.config", "enable_remote_autograd_cache"),
)
# Not bundled_autotune_remote_cache: where there is no GPU, compiling fails with it.


class Entries(Protocol):
    """Where entries lie. Neither method raises."""

    def get(self, key: str) -> bytes | None: ...

    def put(self, key: str, data: bytes) -> None: ...


def put_in_place(remote_cache: ModuleType, entries: Entries) -> None:
    """Have torch's remote caches use `entries`, and switch those on that aren't set by hand.

    `remote_cache` is the module. Caches that were made before keep what they have. Raises AttributeError or
    ImportError, with nothing changed, in a torch where something moved.
    """
    backend = _backend(remote_cache, entries)
    caches = [getattr(remote_cache, name) for name in _SERVED]
    for cache in caches:
        _ = cache.backend_override_cls  # where it isn't asked for, setting it would change nothing
    switches = [_setting(importlib.import_module(module), name) for module, name in _SWITCHES]
    for cache in caches:
        cache.backend_override_cls = backend
    for switch in switches:
        # The default and not the value, which is this thread's alone: others compile, too.
        if switch.default is None:
            switch.default = True


def _backend(remote_cache: Any, entries: Entries) -> type:
    base = remote_cache.RemoteCacheBackend
    _ = base._get, base._put, base.get, base.put

    class InductoryRemoteCacheBackend(base):  # type: ignore[misc,valid-type]
        """Named so that torch's own statistics (TORCH_LOGS=cache) say whose they are."""

        def _get(self, key: str) -> bytes | None:
            return entries.get(key)

        def _put(self, key: str, data: bytes) -> None:
            entries.put(key, data)

    return InductoryRemoteCacheBackend


def _setting(config: Any, name: str) -> Any:
    entries = config._config
    if name not in entries:
        raise AttributeError(f"{config.__name__} has no {name}")
    _ = entries[name].default
    return entries[name]
