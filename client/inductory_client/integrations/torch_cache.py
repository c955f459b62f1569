"""`inductory_client.serve_torch_caches()`: stock torch.compile, with its remote caches served by the store.

    import inductory_client

    inductory_client.serve_torch_caches()
    model = torch.compile(model)

Inductor and AOTAutograd ask for their entries here where they would ask Redis, and unpickle what they get: so
they get nothing but what a trusted key has signed, and compile what isn't there.
"""

from __future__ import annotations

from types import ModuleType
from typing import Any

from inductory_client.after_import import after_import
from inductory_client.settings import Settings
from inductory_client.trouble import warn_once


def serve_torch_caches(**options: Any) -> None:
    """Serve torch's remote caches of compiled graphs from the store, and switch them on.

    To be called before the first compile; torch may have been imported, and isn't by this. `options` are
    settings by name. Where a cache is switched off by hand it stays off. In a torch that isn't known nothing
    changes, with one warning. May be repeated: the last options count for caches that torch makes afterwards.
    Raises BadSettings.
    """
    settings = Settings.load(**options)
    if settings.disabled:
        return
    from inductory_client.graph.torch_remote import REMOTE_CACHES

    after_import(REMOTE_CACHES, lambda module: _serve(module, settings))


def _serve(remote_cache: ModuleType, settings: Settings) -> None:
    from inductory_client.graph.torch_remote import put_in_place

    from .torch_entries import TorchEntries

    try:
        put_in_place(remote_cache, TorchEntries(settings))
    except (AttributeError, ImportError) as error:
        warn_once("torch-caches", "this torch isn't known, and its caches are left as they are: %s", error)
