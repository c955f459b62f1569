"""Who a model is before it is captured: the digests that a build's key is made of."""

from __future__ import annotations

import inspect
import json
import os
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from typing import Any

import torch

from inductory_client.contract.build import Build, BuildEntry
from inductory_client.contract.canonical_json import digest_of_json
from inductory_client.contract.digest import digest_of
from inductory_client.contract.target import Target
from inductory_client.settings import Settings

# What a configuration says of where it came from, and not of what the model is.
_VOLATILE = frozenset({"_name_or_path", "name_or_path", "transformers_version", "_commit_hash"})


@dataclass(frozen=True)
class ModelIdentity:
    """What decides which code a model's start will want, but for the target."""

    name: str
    """What its class is called."""
    sources: str
    """Digest of the source files of its modules' classes; torch's own are a factor of the target."""
    config: str
    """Digest of its configuration, and of its parameters' and buffers' shapes and types."""


def identify(model: torch.nn.Module) -> ModelIdentity:
    """Return who `model` is. Its weights' values don't matter, nor where it was loaded from."""
    classes: set[Any] = {type(module) for module in model.modules()}
    files = {
        cls.__module__: _source_digest(cls) for cls in classes if cls.__module__.partition(".")[0] != "torch"
    }
    tensors = [
        [name, str(tensor.dtype), list(tensor.shape)]
        for named in (model.named_parameters(), model.named_buffers())
        for name, tensor in named
    ]
    config = {"config": _config(model), "tensors": tensors, "training": model.training}
    return ModelIdentity(type(model).__name__, digest_of_json(files), digest_of_json(config))


def build_of(
    identity: ModelIdentity, settings: Settings, target: Target, entries: tuple[BuildEntry, ...] = ()
) -> Build:
    """Return the build that a start of the model is. Its key is known before capture, when it has no entries
    yet.
    """
    return Build(
        namespace=settings.namespace,
        component=settings.component,
        model=settings.model or identity.name,
        sources=identity.sources,
        config=identity.config,
        rank_layout=rank_layout(),
        target=target,
        entries=entries,
    )


def rank_layout() -> dict[str, str]:
    """Return this process's place among those that run the model together; empty for one alone."""
    distributed = torch.distributed
    if (
        not distributed.is_available()
        or not distributed.is_initialized()
        or distributed.get_world_size() == 1
    ):
        return {}
    return {"world_size": str(distributed.get_world_size()), "rank": str(distributed.get_rank())}


def _config(model: torch.nn.Module) -> str:
    config = getattr(model, "config", None)
    to_dict = getattr(config, "to_dict", None)
    if not callable(to_dict):
        return ""
    return json.dumps(_without_volatile(to_dict()), sort_keys=True, default=str)


def _without_volatile(value: Any) -> Any:
    if isinstance(value, dict):
        return {str(k): _without_volatile(v) for k, v in value.items() if k not in _VOLATILE}
    if isinstance(value, (list, tuple)):
        return [_without_volatile(item) for item in value]
    return value


@lru_cache(maxsize=10_000)
def _source_digest(cls: Any) -> str:
    try:
        path = inspect.getsourcefile(cls)
    except TypeError:
        path = None
    if path is None or not os.path.exists(path):
        return str(cls.__qualname__)  # typed at a prompt or made on the fly: nothing but its name to go by
    return digest_of(Path(path).read_bytes())
