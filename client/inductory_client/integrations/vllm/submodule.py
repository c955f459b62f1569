"""The submodule level: a piece by the key that torch gives its graph, where the model as a whole isn't there.

    vllm:a<key of AOTAutograd> + compile range --> piece

A hit costs Dynamo and the key, and no Inductor.
"""

from __future__ import annotations

import os
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import torch

from inductory_client.client import Client
from inductory_client.contract.shape import Shape
from inductory_client.foreign import ForeignCache
from inductory_client.graph.factors import current_target
from inductory_client.graph.torch_private import (
    deserialize_standalone,
    serialize_standalone,
    watched_cache_keys,
)
from inductory_client.integrations.vllm_folder.normal_form import normal_form, placed
from inductory_client.integrations.vllm_folder.tree import root_above
from inductory_client.integrations.vllm_folder.writer import FolderWriter

from .counts import Counts
from .places import keeps_pieces_in_model

_LEVEL = "submodule"
_PIECE = "piece"
_IN_FILE, _IN_MODEL = "inductor_standalone", "inductor_standalone.aot"
"""Backends: pieces that vLLM keeps in files, and those that it keeps inside of the AOT file."""

Compile = Callable[..., tuple[Any, Any]]


class _Found(BaseException):
    """Ends a compile whose outcome is there. No Exception: torch mustn't take it for one of its own."""


class SubmoduleLevel:
    """Goes around vLLM's compiler of pieces."""

    def __init__(self, client: Client, counts: Counts, cache_enabled: Callable[[Any], bool]) -> None:
        self._client = client
        self._counts = counts
        self._cache_enabled = cache_enabled

    def around_compile(self, original: Compile) -> Compile:
        """Return what stands in for `InductorStandaloneAdaptor.compile`."""

        def compile_piece(
            adaptor: Any,
            graph: Any,
            example_inputs: Sequence[Any],
            compiler_config: Any,
            compile_range: Any,
            key: str | None = None,
        ) -> tuple[Any, Any]:
            cache = self._cache(graph, example_inputs) if self._cache_enabled(compiler_config) else None
            if cache is None or getattr(adaptor, "save_format", "binary") != "binary":
                return original(adaptor, graph, example_inputs, compiler_config, compile_range, key)
            shape: Shape = (int(compile_range.start), int(compile_range.end))
            seen: list[str] = []
            found: list[bytes] = []

            def look(torch_key: str) -> None:
                if not seen:
                    seen.append(torch_key)
                    if self._fetch(cache, torch_key, shape, found):
                        raise _Found

            began = time.perf_counter()
            try:
                with watched_cache_keys(look):
                    compiled, handle = original(
                        adaptor, graph, example_inputs, compiler_config, compile_range, key
                    )
            except _Found:
                loaded = self._load(adaptor, found[0], key, graph, example_inputs, compile_range)
                if loaded is not None:
                    cache.loaded(seen[0], shape)
                    return loaded
                return original(adaptor, graph, example_inputs, compiler_config, compile_range, key)
            if seen:
                self._offer(cache, seen[0], shape, compiled, handle, time.perf_counter() - began)
            return compiled, handle

        return compile_piece

    def _cache(self, graph: Any, example_inputs: Sequence[Any]) -> ForeignCache | None:
        """Return where pieces for this graph's devices lie; None where they can't be keyed."""
        with self._counts.ours("piece", "a piece can't be keyed, and isn't shared", _LEVEL):
            devices = {each.device for each in example_inputs if isinstance(each, torch.Tensor)}
            target = current_target({device for device in devices if device.type != "meta"})
            indices = sorted(str(device.index) for device in devices if device.type == "cuda")
            if indices:
                factors = target.factors | {"cuda.index": ",".join(indices)}
                target = type(target)(factors)
            backend = _IN_MODEL if keeps_pieces_in_model() else _IN_FILE
            return ForeignCache(client=self._client, scheme="vllm", backend=backend, target=target)
        return None

    def _fetch(self, cache: ForeignCache, torch_key: str, shape: Shape, found: list[bytes]) -> bool:
        """Put a piece into `found`; whether there is one."""
        with self._counts.ours("fetch", "a piece isn't fetched", _LEVEL):
            files = cache.fetch([torch_key], shape=shape).get(torch_key, {})
            if _PIECE in files:
                found.append(files[_PIECE])
            else:
                self._counts.missed_one(_LEVEL)
        return bool(found)

    def _load(
        self,
        adaptor: Any,
        data: bytes,
        key: str | None,
        graph: Any,
        example_inputs: Sequence[Any],
        compile_range: Any,
    ) -> tuple[Any, Any] | None:
        """Return a verified piece as vLLM's compiler would; None where it can't be loaded."""
        with self._counts.ours("load", "a piece of the store can't be loaded, and is compiled", _LEVEL):
            data = placed(_PIECE, data, str(root_above(Path(adaptor.cache_dir))))
            if keeps_pieces_in_model():
                loaded: tuple[Any, Any] = deserialize_standalone(data), None
            else:
                assert key is not None
                FolderWriter(Path(adaptor.cache_dir)).write(key, data)
                handle = (key, os.path.join(adaptor.cache_dir, key))
                loaded = adaptor.load(handle, graph, example_inputs, 0, compile_range), handle
            self._counts.served_one(_LEVEL)
            return loaded
        return None

    def _offer(
        self, cache: ForeignCache, torch_key: str, shape: Shape, compiled: Any, handle: Any, seconds: float
    ) -> None:
        with self._counts.ours("publish", "a compiled piece isn't published"):
            data = serialize_standalone(compiled) if handle is None else Path(handle[1]).read_bytes()
            files = {_PIECE: normal_form(_PIECE, data)}
            if cache.offer(torch_key, files, shape=shape, compile_seconds=seconds):
                self._counts.offered_one(_LEVEL)
