"""Inductory's client: `inductory_client.load`, `.prefetch`, `.serve_torch_caches`, `.save_cache` and
`.load_cache`, `.Client` and `.Settings`.

Importing this package costs next to nothing; what it names is imported when it is first asked for.
"""

from __future__ import annotations

from .version import __version__

TYPE_CHECKING = False  # type checkers take it for true; importing `typing` would cost more than all the rest
if TYPE_CHECKING:
    from typing import Any

    from .client import Client
    from .integrations.mega_cache import load_cache, save_cache
    from .integrations.torch_cache import serve_torch_caches
    from .integrations.torch_load import load
    from .settings import Settings
    from .shared import prefetch

__all__ = [
    "Client",
    "Settings",
    "__version__",
    "load",
    "load_cache",
    "prefetch",
    "save_cache",
    "serve_torch_caches",
]


def __getattr__(name: str) -> Any:
    if name == "Client":
        from .client import Client

        return Client
    if name == "Settings":
        from .settings import Settings

        return Settings
    if name == "load":
        from .integrations.torch_load import load

        return load
    if name in ("load_cache", "save_cache"):
        from .integrations import mega_cache

        return getattr(mega_cache, name)
    if name == "serve_torch_caches":
        from .integrations.torch_cache import serve_torch_caches

        return serve_torch_caches
    if name == "prefetch":
        from .shared import prefetch

        return prefetch
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
