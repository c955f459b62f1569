"""Triton's cache, shared: kernels that any node compiled are found by all.

    TRITON_CACHE_MANAGER=inductory_client.integrations.triton_cache:InductoryCacheManager
    INDUCTORY_URL=http://store:8080

Triton's own folder comes first, with all that reads it; then what this node has; then the store. Whatever
goes wrong, Triton compiles for itself. See docs/triton.md.
"""

from __future__ import annotations

from .choosing import install
from .manager import InductoryCacheManager
from .sharing import prefetch, served, waited_s
from .used import used_keys

__all__ = ["InductoryCacheManager", "install", "prefetch", "served", "used_keys", "waited_s"]
