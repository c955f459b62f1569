"""Shared: one client for all of a process that talks alike, so that what is begun early is found later."""

from __future__ import annotations

from typing import Any

from msgspec.structs import replace

from .client import Client
from .contract.errors import InductoryError
from .fork import ForkLock
from .settings import Settings
from .trouble import log

_CLIENTS: dict[Settings, Client] = {}
_LOCK = ForkLock()


def shared_client(settings: Settings) -> Client:
    """Return this process's client for `settings`, a new one where the last was closed.

    What decides only what is asked of it (the policy on a miss, the model's label, the build) makes no other
    client.
    """
    alike = replace(
        settings,
        component="",
        model="",
        on_miss="compile",
        wait_deadline_s=0.0,
        splitting_ops=(),
        build=None,
        reproducible=False,
        disabled=False,
    )
    with _LOCK:
        client = _CLIENTS.get(alike)
        if client is None or client.closed:
            client = _CLIENTS[alike] = Client(alike)
        return client


def prefetch(**options: Any) -> None:
    """Begin to pull the build that the settings name, in a thread; make it the first line of a program.

        import inductory_client

        inductory_client.prefetch()  # INDUCTORY_URL and INDUCTORY_BUILD say what from where
        import torch

    The bundle is fetched, unpacked and verified while torch is imported, and the first graph finds what came.
    `options` are settings by name, as for `torch.compile`. It doesn't import torch, doesn't wait, and does
    nothing where no build or no store is set. May be repeated. Raises BadSettings.
    """
    settings = Settings.load(**options)
    shared_client(settings).prefetch(settings)


def prefetch_as_set() -> None:
    """Prefetch what the environment names; ways in that import torch call it before they do.

    Never raises for what is set: whoever uses the settings will.
    """
    try:
        prefetch()
    except InductoryError as error:
        log.debug("nothing is prefetched: %s", error)
