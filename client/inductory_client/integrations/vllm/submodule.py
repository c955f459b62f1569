"""The submodule level: a piece by the key that torch gives its graph, where the model as a whole isn't there.

    vllm:a<key of AOTAutograd> + compile range --> piece

A hit costs Dynamo and the key, and no Inductor.
"""

from __future__ import annotations

import os
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch

from inductory_client.client import Client
from inductory_client.contract.shape import Shape
from inductory_client.contract.target import Target
from inductory_client.foreign import ForeignCache
from inductory_client.graph.factors import bare_target
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


@dataclass
class _Sought:
    """A piece that torch is about to compile."""

    torch_key: str
    shape: Shape
    cache: ForeignCache | None = None
    """Where it lies, or is to; None where it can't be keyed."""
    data: bytes | None = None
    """What was found there."""


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
            if (
                not self._cache_enabled(compiler_config)
                or getattr(adaptor, "save_format", "binary") != "binary"
            ):
                return original(adaptor, graph, example_inputs, compiler_config, compile_range, key)
            shape: Shape = (int(compile_range.start), int(compile_range.end))
            sought: list[_Sought] = []

            def look(torch_key: str) -> None:
                # Not before there is a key: of most pieces vLLM finds an equal one in memory by then.
                if not sought:
                    sought.append(self._seek(torch_key, shape, example_inputs))
                    if sought[0].data is not None:
                        raise _Found

            began = time.perf_counter()
            try:
                with watched_cache_keys(look):
                    compiled, handle = original(
                        adaptor, graph, example_inputs, compiler_config, compile_range, key
                    )
            except _Found:
                loaded = self._load(adaptor, sought[0], key, graph, example_inputs, compile_range)
                if loaded is not None:
                    return loaded
                return original(adaptor, graph, example_inputs, compiler_config, compile_range, key)
            for each in sought:
                self._offer(each, compiled, handle, time.perf_counter() - began)
            return compiled, handle

        return compile_piece

    def _seek(self, torch_key: str, shape: Shape, example_inputs: Sequence[Any]) -> _Sought:
        """Ask for a piece, by torch's key, which holds torch's configuration, and the devices it is for."""
        sought = _Sought(torch_key, shape)
        with self._counts.ours("fetch", "a piece isn't asked for", _LEVEL):
            devices = {each.device for each in example_inputs if isinstance(each, torch.Tensor)}
            target = bare_target(device for device in devices if device.type != "meta")
            indices = sorted(str(device.index) for device in devices if device.type == "cuda")
            if indices:
                target = Target(target.factors | {"cuda.index": ",".join(indices)})
            backend = _IN_MODEL if keeps_pieces_in_model() else _IN_FILE
            sought.cache = ForeignCache(client=self._client, scheme="vllm", backend=backend, target=target)
            sought.data = sought.cache.fetch([torch_key], shape=shape).get(torch_key, {}).get(_PIECE)
            if sought.data is None:
                self._counts.missed_one(_LEVEL)
        return sought

    def _load(
        self,
        adaptor: Any,
        sought: _Sought,
        key: str | None,
        graph: Any,
        example_inputs: Sequence[Any],
        compile_range: Any,
    ) -> tuple[Any, Any] | None:
        """Return a verified piece as vLLM's compiler would; None where it can't be loaded."""
        failed = "a piece of the store can't be loaded, and is compiled"
        data: bytes | None = None
        with self._counts.ours("load", failed, _LEVEL):
            assert sought.data is not None
            data = placed(_PIECE, sought.data, str(root_above(Path(adaptor.cache_dir))))
            if not keeps_pieces_in_model():
                assert key is not None
                FolderWriter(Path(adaptor.cache_dir)).write(key, data)
        if data is None:
            return None
        # What the engine would do with a piece of its own is no wait for us: many pieces take long.
        with self._counts.ours("load", failed, _LEVEL, free=True):
            assert sought.cache is not None
            if keeps_pieces_in_model():
                loaded: tuple[Any, Any] = deserialize_standalone(data), None
            else:
                assert key is not None
                handle = (key, os.path.join(adaptor.cache_dir, key))
                loaded = adaptor.load(handle, graph, example_inputs, 0, compile_range), handle
            sought.cache.loaded(sought.torch_key, sought.shape)
            self._counts.served_one(_LEVEL)
            return loaded
        return None

    def _offer(self, sought: _Sought, compiled: Any, handle: Any, seconds: float) -> None:
        if sought.cache is None:
            return
        with self._counts.ours("publish", "a compiled piece isn't published"):
            data = serialize_standalone(compiled) if handle is None else Path(handle[1]).read_bytes()
            if sought.cache.offer_later(
                sought.torch_key,
                lambda: {_PIECE: normal_form(_PIECE, data)},
                len(data),
                shape=sought.shape,
                compile_seconds=seconds,
            ):
                self._counts.offered_one(_LEVEL)
