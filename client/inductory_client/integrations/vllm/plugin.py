"""The entry point of `vllm.general_plugins`: vLLM calls it in each of its processes before it builds
anything.

Each level is put in place once vLLM imports what it goes around, so that a process which needs none of it
pays nothing.
"""

from __future__ import annotations

import functools
import logging
import os
import time
from collections.abc import Callable
from typing import TYPE_CHECKING, Any

from inductory_client.after_import import after_import
from inductory_client.trouble import warn_once

if TYPE_CHECKING:
    from types import ModuleType

    from inductory_client.client import Client
    from inductory_client.settings import Settings, VllmLevel

    from .counts import Counts
    from .kernels import TritonLevel
    from .places import Place

log = logging.getLogger("vllm.inductory")
"""Below vLLM's own logger, so that its one line is seen where vLLM's are."""

_registered = False
_counts: Counts | None = None


def counts() -> Counts | None:
    """Return what this process's start came to so far; None where the plugin has nothing to do."""
    return _counts


def register() -> None:
    """Have vLLM load from the store that INDUCTORY_URL names; nothing where it names none.

    INDUCTORY_VLLM chooses levels, `off` for none. Never raises: an engine goes on without us. May be
    repeated.
    """
    global _registered
    if _registered or not os.environ.get("INDUCTORY_URL"):
        return
    _registered = True
    began = time.perf_counter()
    try:
        from inductory_client.settings import Settings
        from inductory_client.shared import shared_client

        settings = Settings.load()
        if not settings.disabled and settings.vllm:
            client = shared_client(settings)
            counts = _install(settings, client)
            counts.took("register", began)
            client.budget.spend(counts.waited_s)
    except Exception as error:
        warn_once("vllm:plugin", "vLLM starts without the store: %s", error)


def _install(settings: Settings, client: Client) -> Counts:
    global _counts
    from . import places
    from .counts import Counts
    from .kernels import TritonLevel

    counts = _counts = Counts(client)
    levels = settings.vllm
    kernels = TritonLevel(counts) if "triton" in levels else None
    at_last: list[Callable[[], None]] = [] if kernels is None else [kernels.offer]
    if "model" in levels:
        install = functools.partial(_install_model, settings, client, counts, kernels, at_last)
        after_import(places.LOAD_MODEL.module, _once_known("model", places.LOAD_MODEL, install))
    if "submodule" in levels:
        install = functools.partial(_install_submodule, client, counts)
        after_import(places.COMPILE.module, _once_known("submodule", places.COMPILE, install))
    if "modelinfo" in levels:
        install = functools.partial(_install_modelinfo, client, counts)
        after_import(places.READ_MODELINFO.module, _once_known("modelinfo", places.READ_MODELINFO, install))
    if kernels is not None:
        after_import("triton", _install_triton)
    after_import(places.WARMED_UP.module, lambda module: _begin(counts))
    after_import(places.MODEL_MADE.module, lambda module: _go_around_made(counts))
    after_import(places.WARMED_UP.module, lambda module: _go_around_warmed_up(counts, at_last))
    return counts


def _once_known(level: VllmLevel, first: Place, install: Callable[[], None]) -> Callable[[ModuleType], None]:
    """Return what puts a level in place, if its functions in the module of `first` are as they were read."""

    def then(_: ModuleType) -> None:
        from .places import PLACES, moved

        differing = moved(place for place in PLACES[level] if place.module == first.module)
        if differing:
            _leave(level, differing)
        else:
            install()

    return then


def _leave(level: str, differing: list[str]) -> None:
    warn_once(
        f"vllm:{level}",
        "this vLLM isn't known at the level of %s, which is left as it is: %s",
        level,
        "; ".join(differing),
    )


def _install_model(
    settings: Settings,
    client: Client,
    counts: Counts,
    kernels: TritonLevel | None,
    at_last: list[Callable[[], None]],
) -> None:
    from . import places
    from .model import ModelLevel

    def known() -> bool:
        """Whether all that the level needs is as it was read; asked when the first model is about to load."""
        differing = places.moved(places.PLACES["model"])
        if differing:
            _leave("model", differing)
            return False
        places.go_around(places.INITIALIZE_CACHE, level.around_initialize_cache)
        places.go_around(places.INSERT_PIECE, level.around_insert)
        places.go_around(places.COMPILE_GRAPH, level.around_compile_graph)
        places.go_around(places.LOAD_PIECE, level.around_load_piece)
        return True

    level = ModelLevel(client, counts, known, settings.patience_s)
    if kernels is not None:
        level.keyed, level.restored = kernels.expect, kernels.settle
    at_last.append(level.turns.end)
    places.go_around(places.LOAD_MODEL, level.around_load)


def _install_submodule(client: Client, counts: Counts) -> None:
    from . import places
    from .submodule import SubmoduleLevel

    level = SubmoduleLevel(client, counts, places.resolve(places.CACHE_ENABLED))
    places.go_around(places.COMPILE, level.around_compile)


def _install_modelinfo(client: Client, counts: Counts) -> None:
    from . import places
    from .modelinfo import ModelinfoLevel

    level = ModelinfoLevel(client, counts)
    places.go_around(places.READ_MODELINFO, level.around_read)
    places.go_around(places.WRITE_MODELINFO, level.around_write)


def _install_triton(_: ModuleType) -> None:
    """Here and in the processes that vLLM starts from here: it is a variable that is set."""
    from inductory_client.integrations.triton_cache import install

    install()


def _begin(counts: Counts) -> None:
    """In a process that will hold a model: torch's files are hashed by a thread while that is made."""
    with counts.ours("begin", "the start isn't prepared for"):
        from inductory_client.graph import factors

        factors.begin()


def _go_around_made(counts: Counts) -> None:
    from . import places

    def around(original: Callable[..., None]) -> Callable[..., None]:
        def init(wrapper: Any, *args: Any, **kwargs: Any) -> None:
            with counts.ours("begin", "the start isn't prepared for"):
                counts.begin()
            original(wrapper, *args, **kwargs)

        return init

    places.go_around(places.MODEL_MADE, around)


def _go_around_warmed_up(counts: Counts, at_last: list[Callable[[], None]]) -> None:
    """Once a worker is warm: nothing more is compiled by it, and its start is told of."""
    from . import places

    def around(original: Callable[[Any], Any]) -> Callable[[Any], Any]:
        def compile_or_warm_up_model(worker: Any) -> Any:
            warmed_up = original(worker)
            for each in at_last:
                each()
            with counts.ours("line", "the start can't be told of"):
                log.info("Inductory: %s", counts.line())
            return warmed_up

        return compile_or_warm_up_model

    places.go_around(places.WARMED_UP, around)
