"""Making a dispatch: from a capture to an artifact that another process can load."""

from __future__ import annotations

import builtins
import enum
import platform
import sys
import types
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any

import torch

from inductory_client.contract.descriptor import LOADABLE_DISPATCH
from inductory_client.contract.key import DISPATCH_BACKEND
from inductory_client.contract.provenance import Provenance
from inductory_client.contract.target import Target
from inductory_client.graph import torch_private
from inductory_client.graph.captured import CapturedGraph
from inductory_client.graph.unsupported import Unsupported
from inductory_client.publication import Draft, DraftBlob
from inductory_client.version import __version__

from . import facts
from .behaviour import behaviours, functions_of, unwrapped
from .container import Header, pack
from .keying import DispatchKey
from .outer import custom_operators, outer_form
from .signature import Signature
from .sources import traced_sources

OUTER_GRAPH = "__inductory_outer_graph"
_BUILTINS = "__inductory_builtins"
_UNUSED = "__inductory_unused"

DROPPED = frozenset({"EMPTY_NN_MODULE_HOOKS_DICT"})
"""Guards that aren't kept: Dynamo doesn't check them itself; `watching.py` does."""
_REFUSED = frozenset({"WEAKREF_ALIVE", "NN_MODULE", "DICT_VERSION"})

Fact = tuple[Any, str, Any, facts.Description]
"""What a guard looks at, in which way, with which parameter, and what it saw."""


@dataclass(frozen=True)
class Wanted:
    """The dispatch that is to be made of a call."""

    name: str
    signature: Signature
    key: DispatchKey
    target: Target
    options: dict[str, str]
    scope: Mapping[str, Any]
    """The locals of the call."""
    left_out: frozenset[int]
    """Ids of objects that hang on the model and are no part of it."""


def make_dispatch(
    whole: torch_private.WholeGraph,
    graph: CapturedGraph,
    guards: Mapping[str, tuple[str, ...]],
    wanted: Wanted,
) -> Draft:
    """Return the artifact, not yet signed. Raises Unsupported where another process couldn't run it."""
    outer, parts = outer_form(graph, guards)
    recorder = _Recorder(whole, wanted.scope)
    payload = torch_private.put_away(whole, recorder.keep, recorder.finish, recorder.renamed, wanted.left_out)
    header = Header(
        name=wanted.name,
        signature=wanted.signature,
        devices=tuple(sorted({device.type for device in graph.devices})),
        sources=traced_sources(whole.traced_code, recorder.seen_code()),
        classes=behaviours(recorder.classes),
        operators=custom_operators(graph),
        globals=dict(sorted(recorder.globals.items())),
        graph=OUTER_GRAPH,
        outer=outer,
        parts=parts,
    )
    return Draft(
        blobs=(DraftBlob(LOADABLE_DISPATCH, "", pack(header, payload)),),
        shape=wanted.signature.shape,
        backend=DISPATCH_BACKEND,
        graph_digest=wanted.key.graph_digest,
        options=wanted.options,
        target=wanted.target,
        provenance=Provenance(
            builder="inductory_client.load",
            created_at=datetime.now(UTC).isoformat(timespec="seconds"),
            versions={
                "inductory": __version__,
                "torch": str(torch.__version__),
                "python": platform.python_version(),
            },
        ),
    )


class _Recorder:
    """Decides of each guard what becomes of it, and remembers what it holds by reference."""

    def __init__(self, whole: torch_private.WholeGraph, scope: Mapping[str, Any]) -> None:
        self._facts: list[Fact] = []
        self.globals: dict[str, str | None] = {}
        self.classes: set[type] = set()
        """Those that guards are on, or on whose instances they are."""
        self._functions: list[Any] = []
        self.renamed: dict[str, str] = {whole.backend_id: OUTER_GRAPH}
        self._whole = whole
        self._values = torch_private.Values(scope, whole.globals)
        for name in sorted(whole.named_globals()):
            self._name(name)

    def keep(self, guard: torch_private.GuardSeen) -> bool:
        """Whether torch is to put this guard away. Raises Unsupported."""
        if guard.kind in DROPPED:
            return False
        if guard.kinds & _REFUSED:
            raise Unsupported(f"a {guard.kind} guard on {guard.name} means this process alone")
        if not guard.name:
            return True
        self._see(guard)
        for root in (guard.root, torch_private.global_root(guard.parameter)):
            if root is not None:
                self._name(root)
        if guard.kinds & facts.IDENTITY or self._by_reference(guard):
            self._remember(guard)
        return True

    def seen_code(self) -> set[types.CodeType]:
        """Return the code whose digests are among the facts or the classes."""
        functions = [part for cls in self.classes for part in functions_of(cls)]
        functions += [part for value in self._functions for part in unwrapped(value)]
        return {code for function in functions for code in _nested(function.__code__)}

    def finish(self) -> list[Fact]:
        """Return the facts, once every guard was seen."""
        for name in self._whole.code().co_names:
            if name in self._whole.globals:
                self.renamed.setdefault(name, _UNUSED)  # it has a counter or an address in it, perhaps
        return self._facts

    def _see(self, guard: torch_private.GuardSeen) -> None:
        if not guard.kinds & (facts.IDENTITY | {"TYPE_MATCH"}):
            return
        value = self._values.of(guard.source)
        self.classes.add(value if isinstance(value, type) else type(value))
        if guard.kinds & facts.IDENTITY:
            self._functions.append(value)

    def _remember(self, guard: torch_private.GuardSeen) -> None:
        way = facts.how(guard.kinds)
        if way == "nothing":
            return
        if way is None:
            raise Unsupported(f"a {guard.kind} guard on {guard.name} can't be compared elsewhere")
        value = self._values.of(guard.source)
        if way == "identity" and not (self._by_reference(guard) or _pickled_by_name(value)):
            raise Unsupported(f"a guard on {guard.name} means an object of this process alone")
        seen = facts.observe(way, guard.parameter, value)
        if seen is None:
            raise Unsupported(f"what the guard on {guard.name} holds can't be described")
        parameter = guard.parameter if way in ("member", "has", "own") else None
        self._facts.append((guard.source, way, parameter, seen))

    def _by_reference(self, guard: torch_private.GuardSeen) -> bool:
        """Whether what a guard looks at is reached through something that a pickle holds by name."""
        if guard.root is not None:
            return True
        return any(facts.is_reference(self._values.of(base)) for base in torch_private.bases(guard.source))

    def _name(self, name: str) -> None:
        """See that a global that code or guards use can be had elsewhere, under a name of its own."""
        if name in self.renamed:
            return
        if name not in self._whole.globals:
            if not hasattr(builtins, name):
                raise Unsupported(f"the code around the graph uses {name}, which isn't there")
            return
        value = self._whole.globals[name]
        if isinstance(value, types.ModuleType) and sys.modules.get(value.__name__) is value:
            alias = f"__module_{value.__name__.replace('.', '_dot_')}"
            self.renamed[name], self.globals[alias] = alias, value.__name__
        elif value is vars(builtins) or name.startswith(torch_private.BUILTINS):
            self.renamed[name], self.globals[_BUILTINS] = _BUILTINS, None
        elif getattr(builtins, name, None) is not value:
            raise Unsupported(f"the code around the graph uses the global {name}")


def _pickled_by_name(value: Any) -> bool:
    """Whether unpickling gives the very object that has this name in the other process."""
    if value is None or isinstance(value, (bool, type(...), enum.Enum)):
        return True
    return facts.is_reference(value) and "<locals>" not in getattr(value, "__qualname__", "")


def _nested(code: types.CodeType) -> Iterator[types.CodeType]:
    yield code
    for item in code.co_consts:
        if isinstance(item, types.CodeType):
            yield from _nested(item)
