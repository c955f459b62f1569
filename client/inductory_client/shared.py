"""Shared: one client for all of a process that talks alike, so that what is begun early is found later."""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import Any

from msgspec.structs import replace

from .client import Client
from .contract.errors import BadSettings, InductoryError
from .fork import ForkLock
from .settings import Settings
from .trouble import log

_DEVICE = re.compile(r"cuda(:\d{1,3})?")


@dataclass(frozen=True)
class Prefetched:
    """A build that is on its way, and the GPU that it will run on."""

    client: Client
    build: str
    device: str


_CLIENTS: dict[Settings, Client] = {}
_PREFETCHED: list[Prefetched] = []
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
        vllm=(),
        torch_cache=False,
        disabled=False,
    )
    with _LOCK:
        client = _CLIENTS.get(alike)
        if client is None or client.closed:
            client = _CLIENTS[alike] = Client(alike)
        return client


def prefetch(*, device: str | None = None, **options: Any) -> None:
    """Begin to pull the build that the settings name, in a thread; make it the first line of a program.

        import inductory_client

        inductory_client.prefetch()  # INDUCTORY_URL and INDUCTORY_BUILD say what from where
        import torch

    The bundle is fetched, unpacked and verified while torch is imported, and the first graph finds what came.
    With `device`, the GPU that the process will run on (`cuda:0`), CUDA is then initialised on it in a
    thread, once torch and `inductory_client.load` are imported, and its libraries load what the build calls:
    leave it out in a process that forks others which use CUDA.

    `options` are settings by name, as for `torch.compile`. It doesn't import torch, doesn't wait, and does
    nothing where no build or no store is set. May be repeated. Raises BadSettings.
    """
    if device is not None and not _DEVICE.fullmatch(device):
        raise BadSettings(f"device is {device!r}, where a GPU is named as cuda or cuda:0")
    settings = Settings.load(**options)
    client = shared_client(settings)
    client.prefetch(settings)
    build = client.build_of(settings)
    if device is not None and build is not None:
        with _LOCK:
            _PREFETCHED.append(Prefetched(client, build, device))


def take_prefetched() -> list[Prefetched]:
    """Return what was prefetched for a GPU, once."""
    with _LOCK:
        taken = list(_PREFETCHED)
        _PREFETCHED.clear()
    return taken


def prefetch_as_set() -> None:
    """Prefetch what the environment names; ways in that import torch call it before they do.

    Never raises for what is set: whoever uses the settings will.
    """
    try:
        prefetch()
    except InductoryError as error:
        log.debug("nothing is prefetched: %s", error)
