"""Compiling one piece with Inductor, from its canonical form."""

from __future__ import annotations

import atexit
import os
import shutil
import tempfile
import time
from collections.abc import Callable
from contextlib import nullcontext
from dataclasses import dataclass
from functools import cache
from typing import Any

import torch
from inductory_client.contract.canonical_json import canonical_json
from inductory_client.contract.digest import digest_of
from inductory_client.fork import ForkLock
from inductory_client.graph import torch_private
from inductory_client.graph.canonical import Form
from inductory_client.graph.expressions import SymbolNames
from inductory_client.graph.unsupported import Unsupported

from .for_gpu import compiling_for_gpu, example_tensors
from .generated import portable, readable, triton_sources, without_builder
from .rebuild import Rebuilt, rebuild
from .recorded import RecordedKernels

_COMPILING = ForkLock()


@dataclass(frozen=True)
class CompiledPiece:
    """What came out of Inductor: the callable, and what an artifact is made of."""

    call: Callable[..., Any]
    entry: Any
    """torch's cache entry, ready to be normalised."""
    natives: dict[str, bytes]
    """Shared libraries by name (see `graph.native`)."""
    kernels: dict[str, bytes]
    """Triton kernels by name (see `graph.kernel_file`)."""
    source: str
    """The generated code, to read."""
    guards: tuple[str, ...]
    """Conditions on the form's symbols that compiling added, as canonical JSON of expressions."""
    seconds: float


def compile_form(
    form: Form, options: dict[str, Any] | None = None, device: int | None = None
) -> CompiledPiece:
    """Compile the piece that `form` describes. `options` are Inductor's configuration patches, `device` the
    index of the GPU that it is for, if it is for one.

    Raises Unsupported where the result couldn't be shared, and whatever Inductor raises where it fails.
    """
    started = time.perf_counter()
    options = options or {}
    # One at a time: the folder of Inductor's files is a setting of the whole process.
    with (
        _COMPILING,
        torch_private.compile_cache(_folder(device), native=device is None),
        torch_private.kept_autocast(),
        torch.no_grad(),
        nullcontext() if device is None else compiling_for_gpu(device, options),
    ):
        rebuilt = rebuild(form, device)
        before = len(torch_private.guards_of(rebuilt.env))
        recorded = RecordedKernels()
        with torch_private.provided_kernels(recorded):
            call, entry = torch_private.compile_entry(rebuilt.module, rebuilt.inputs, options)
        guards = _encoded_guards(rebuilt, before)
        graph = _shareable(entry, device)
        source = graph.source_code
        kernels: dict[str, bytes] = {}
        if device is not None:
            recorded.tune(lambda: call(*example_tensors(rebuilt.inputs)))
            kernels = recorded.kernel_files(triton_sources(source))
            graph.source_code = portable(source, device)
            source = readable(source)
        else:
            graph.source_code = source = without_builder(source)
        graph.cache_key = digest_of(graph.source_code.encode())
        natives = recorded.native_files()
    return CompiledPiece(call, entry, natives, kernels, source, guards, time.perf_counter() - started)


def _shareable(entry: Any, device: int | None) -> Any:
    """Return the one graph of an entry. Raises Unsupported where it holds what can't be shared."""
    graphs = torch_private.compiled_graphs(entry)
    if len(graphs) != 1:
        raise Unsupported("the piece has a backward graph")
    (graph,) = graphs
    if graph.frozen_param_names:
        raise Unsupported("the piece has weights frozen into it")
    if graph.torchbind_constants:
        raise Unsupported("the piece holds objects of torchbind classes")
    if device is not None:
        torch_private.check_one_gpu(entry, device)
    return graph


def _encoded_guards(rebuilt: Rebuilt, before: int) -> tuple[str, ...]:
    names = SymbolNames()
    for symbol in rebuilt.symbols.values():
        names.name(symbol)
    added = torch_private.guards_of(rebuilt.env)[before:]
    return tuple(sorted({canonical_json(names.encode(guard)).decode() for guard in added}))


def _folder(device: int | None) -> str:
    """Return where Inductor keeps its files for one compile.

    For the CPU it is one a process: headers are precompiled into it. For a GPU it is a new one each time, or
    torch would find what it compiled before, and its kernels wouldn't be seen.
    """
    return _private_folder() if device is None else tempfile.mkdtemp(dir=_private_folder())


@cache
def _private_folder() -> str:
    """Return the folder that Inductor compiles in: this process's alone, fresh, removed at exit."""
    folder = tempfile.mkdtemp(prefix="inductory-compile-")
    atexit.register(_remove, folder, os.getpid())
    return folder


def _remove(folder: str, owner: int) -> None:
    if os.getpid() == owner:  # and not a child that was forked and ends
        shutil.rmtree(folder, ignore_errors=True)


os.register_at_fork(after_in_child=_private_folder.cache_clear)  # a child compiles in a folder of its own
