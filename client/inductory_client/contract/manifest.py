"""Manifests: one captured graph, part by part."""

from __future__ import annotations

from typing import Annotated

from msgspec import Meta, Struct

from .artifact import Backend, Scheme
from .canonical_json import digest_of_json
from .descriptor import Descriptor
from .digest import Digest
from .key import SCHEME
from .shape import Shape

MANIFEST_VERSION = 1

BLUEPRINT = "computation_graph.py"
"""Name of the readable split graph among a manifest's documents."""
DISPATCH = "transformed_code.py"
"""Name of the readable entry that gathers weights and calls the pieces."""
PARTS_LIST = "vllm_compile_cache.py"
"""Name of the parts list, as vLLM spells it."""


class ManifestEntry(Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """A part of the graph and the artifact that is its code."""

    shape: Shape
    submodule_index: Annotated[int, Meta(ge=0, le=1_000_000)]
    """Its place among the submodules; attention counts under our own scheme."""
    backend: Backend
    artifact: Digest
    """The artifact key."""


class Manifest(Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """One captured graph: (shape, submodule index, backend) -> artifact, with its documents."""

    scheme: Scheme = SCHEME
    graph_digest: Digest
    """Of the outer canonical graph, split operations included."""
    guards_digest: Digest
    submodules: Annotated[int, Meta(ge=0, le=1_000_000)]
    """Parts of the split, attention included."""
    entries: Annotated[tuple[ManifestEntry, ...], Meta(max_length=100_000)]
    documents: Annotated[tuple[Descriptor, ...], Meta(max_length=100)] = ()
    """The blueprint and the readable dispatch, by name. Not in the id: they are there to be read."""
    files: Annotated[tuple[Descriptor, ...], Meta(max_length=100_000)] = ()
    """Every file of a folder that another program wrote, by relative path; empty under our own scheme."""

    @property
    def id(self) -> str:
        """Digest of the outer graph, the ordered parts, the guards, and a foreign folder's files."""
        return digest_of_json(
            {
                "version": MANIFEST_VERSION,
                "scheme": self.scheme,
                "graph_digest": self.graph_digest,
                "guards_digest": self.guards_digest,
                "entries": self.entries,
                "files": self.files,
            }
        )
