"""The entry point that torch calls while it is imported (group `torch.backends`).

A program that sets INDUCTORY_TORCH_CACHE=1 needs no line of code. Every other program that imports torch
where Inductory is installed passes here, too: so nothing is imported before the variable was looked at, and
nothing is raised, which torch would fail with.
"""

from __future__ import annotations

import os


def autoload() -> None:
    """Call `serve_torch_caches()` where INDUCTORY_TORCH_CACHE says so. Never raises."""
    if os.environ.get("INDUCTORY_TORCH_CACHE", "") in ("", "0"):
        return
    try:
        from inductory_client.settings import Settings

        from .torch_cache import serve_torch_caches

        if Settings.load().torch_cache:
            serve_torch_caches()
    except Exception as error:
        from inductory_client.trouble import warn_once

        warn_once("autoload", "torch's caches aren't served: %s", error)
