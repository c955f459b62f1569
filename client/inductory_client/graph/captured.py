"""A captured graph, split and keyed: everything that is known of it before anything is fetched or
compiled.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Any

import torch
import torch.fx

from inductory_client.contract.canonical_json import digest_of_json
from inductory_client.contract.key import BACKEND, artifact_key
from inductory_client.contract.manifest import ManifestEntry
from inductory_client.contract.shape import Shape
from inductory_client.contract.target import Target
from inductory_client.misses import KeyParts

from . import torch_private
from .canonical import Canonical, canonicalise, canonicalise_attention, example_inputs, fixed_size, shape_of
from .expressions import decode
from .factors import canonical_options, current_target
from .refusals import refuse_aliased_mutation, refuse_untouchable
from .split import Part, Split, split_graph
from .unsupported import Unsupported


@dataclass(frozen=True)
class Piece:
    """A part that is compiled, and the key of its code."""

    part: Part
    canonical: Canonical
    shape: Shape
    key: str


@dataclass(frozen=True)
class CapturedGraph:
    """One graph as Dynamo handed it over."""

    split: Split
    pieces: tuple[Piece, ...]
    target: Target
    options: dict[str, str]
    outer: Canonical
    shape: Shape
    devices: frozenset[torch.device]
    """What it computes on."""
    device: int | None
    """Index of the GPU that it computes on; None where it uses none."""

    @property
    def unique(self) -> dict[str, Piece]:
        """One piece a key: equal pieces are compiled and loaded once."""
        return {piece.key: piece for piece in reversed(self.pieces)}

    def key_parts(self, key: str) -> KeyParts:
        """Return what the key of a piece is made of."""
        return KeyParts(shape=self.unique[key].shape, backend=BACKEND, options=self.options)

    @property
    def guards_digest(self) -> str:
        form = self.outer.form
        return digest_of_json({"symbols": form["symbols"], "guards": form["guards"]})

    @property
    def entries(self) -> tuple[ManifestEntry, ...]:
        """The manifest's entries, in order."""
        return tuple(
            ManifestEntry(shape=p.shape, submodule_index=p.part.index, backend=BACKEND, artifact=p.key)
            for p in self.pieces
        )


def capture(
    module: torch.fx.GraphModule,
    inputs: Sequence[Any],
    *,
    options: dict[str, Any] | None = None,
    splitting_ops: Sequence[str] = (),
) -> CapturedGraph:
    """Split and key what Dynamo captured; `options` are Inductor's configuration patches.

    `module` stays as it is. Raises Unsupported, with the reason, for a graph that is to be left alone.
    """
    refuse_untouchable(module, inputs)
    devices = _devices(module)
    target = current_target(devices)
    named_options = canonical_options(options or {})
    split = split_graph(module, splitting_ops)
    fingerprint = target.fingerprint
    fixed = fixed_size(example_inputs(module))
    pieces = tuple(key_part(part, fixed, fingerprint, named_options) for part in split.pieces)
    digests = {piece.part.name: piece.key for piece in pieces}
    for part in split.parts:
        if part.attention:
            digests[part.name] = canonicalise_attention(part.module, part.inputs()).digest
    outer = canonicalise(split.outer, example_inputs(split.outer), digests)
    device = next((device.index for device in devices if device.type == "cuda"), None)
    shape = shape_of(outer.form, fixed)
    return CapturedGraph(split, pieces, target, named_options, outer, shape, frozenset(devices), device)


def key_part(part: Part, fixed: int | None, fingerprint: str, options: dict[str, str]) -> Piece:
    """Return a part as a piece with its key; `fixed` is the size of a graph without symbols. Raises
    Unsupported.
    """
    inputs = part.inputs()
    refuse_aliased_mutation(inputs)
    canonical = canonicalise(part.module, inputs)
    shape = shape_of(canonical.form, fixed)
    key = artifact_key(
        graph_digest=canonical.digest,
        shape=shape,
        backend=BACKEND,
        options=options,
        target_fingerprint=fingerprint,
    )
    return Piece(part, canonical, shape, key)


def _devices(module: torch.fx.GraphModule) -> set[torch.device]:
    """Return the devices that a graph computes on. Raises Unsupported for several GPUs."""
    found = {device for node in module.graph.nodes for device in _devices_of(node)}
    if torch.device("meta") in found:
        raise Unsupported("the graph computes on the meta device")
    gpus = sorted(str(device) for device in found if device.type == "cuda")
    if len(gpus) > 1:
        raise Unsupported(f"the graph computes on several GPUs: {', '.join(gpus)}")
    return found or {torch.device("cpu")}


def _devices_of(node: torch.fx.Node) -> Iterable[torch.device]:
    value = node.meta.get("example_value")
    for item in value if isinstance(value, (list, tuple)) else (value,):
        if isinstance(item, torch.Tensor):
            yield item.device


def holds_here(captured: CapturedGraph, key: str, guards: Sequence[str]) -> bool:
    """Whether the conditions that compiling a piece added are true of this capture; if so, Dynamo guards on
    them. What can't be read isn't true.
    """
    if not guards:
        return True
    return all(_holds(piece, guard) for piece in captured.pieces if piece.key == key for guard in guards)


def _holds(piece: Piece, guard: str) -> bool:
    env = torch_private.shape_env_of(piece.part.inputs())
    try:
        condition = decode(json.loads(guard), piece.canonical.symbols)
    except (ValueError, Unsupported):
        return False
    return env is not None and torch_private.holds(env, condition)
