"""Compiling one piece with Inductor, from its canonical form."""

from __future__ import annotations

import atexit
import os
import shutil
import tempfile
import time
from collections.abc import Callable
from dataclasses import dataclass
from functools import cache
from typing import Any

import torch
from inductory_client.contract.canonical_json import canonical_json
from inductory_client.fork import ForkLock
from inductory_client.graph import torch_private
from inductory_client.graph.canonical import Form
from inductory_client.graph.expressions import SymbolNames
from inductory_client.graph.native import native_name
from inductory_client.graph.unsupported import Unsupported

from .rebuild import Rebuilt, rebuild

_COMPILING = ForkLock()


@dataclass(frozen=True)
class CompiledPiece:
    """What came out of Inductor: the callable, and what an artifact is made of."""

    call: Callable[..., Any]
    entry: Any
    """torch's cache entry, ready to be normalised."""
    natives: dict[str, bytes]
    """Shared libraries by name (see `graph.native`)."""
    source: str
    """The generated code, to read."""
    guards: tuple[str, ...]
    """Conditions on the form's symbols that compiling added, as canonical JSON of expressions."""
    seconds: float


def compile_form(form: Form, options: dict[str, Any] | None = None) -> CompiledPiece:
    """Compile the piece that `form` describes. `options` are Inductor's configuration patches.

    Raises Unsupported where the result couldn't be shared, and whatever Inductor raises where it fails.
    """
    started = time.perf_counter()
    # One at a time: the folder of Inductor's files is a setting of the whole process.
    with (
        _COMPILING,
        torch_private.compile_cache(_private_folder()),
        torch_private.kept_autocast(),
        torch.no_grad(),
    ):
        rebuilt = rebuild(form)
        before = len(torch_private.guards_of(rebuilt.env))
        recorder = _NativeRecorder()
        with torch_private.native_kernels(recorder.provide):
            call, entry = torch_private.compile_entry(rebuilt.module, rebuilt.inputs, options or {})
        natives = recorder.files()
    guards = _encoded_guards(rebuilt, before)
    graphs = torch_private.compiled_graphs(entry)
    _refuse_unshareable(graphs)
    source = "\n".join(graph.source_code for graph in graphs)
    return CompiledPiece(call, entry, natives, source, guards, time.perf_counter() - started)


def _refuse_unshareable(graphs: list[Any]) -> None:
    if len(graphs) != 1:
        raise Unsupported("the piece has a backward graph")
    graph = graphs[0]
    if graph.frozen_param_names:
        raise Unsupported("the piece has weights frozen into it")
    if graph.torchbind_constants:
        raise Unsupported("the piece holds objects of torchbind classes")


def _encoded_guards(rebuilt: Rebuilt, before: int) -> tuple[str, ...]:
    names = SymbolNames()
    for symbol in rebuilt.symbols.values():
        names.name(symbol)
    added = torch_private.guards_of(rebuilt.env)[before:]
    return tuple(sorted({canonical_json(names.encode(guard)).decode() for guard in added}))


_ONE_NAME = '#line 1 "kernel.cpp"\n'
"""Before a native source: or its checks would name the builder's folder, and the bytes would differ by it."""


class _NativeRecorder:
    """Lets torch compile a piece's native kernels, and keeps what it made."""

    def __init__(self) -> None:
        self._made: dict[str, Any] = {}

    def provide(self, argtypes: list[str], source: str, stock: Callable[[str], Any]) -> Any:
        made = stock(_ONE_NAME + source)
        self._made[native_name(argtypes, source)] = made
        return made

    def files(self) -> dict[str, bytes]:
        """Return the shared libraries, by name; waits for those that are still being compiled."""
        found: dict[str, bytes] = {}
        for name, made in self._made.items():
            kernel = made.result() if hasattr(made, "result") else made
            with open(kernel.__self__.__file__, "rb") as file:
                found[name] = file.read()
        return found


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
