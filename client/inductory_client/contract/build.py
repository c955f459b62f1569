"""Builds: a model's start, found before anything is captured."""

from __future__ import annotations

from typing import Annotated

import msgspec
from msgspec import Meta, Struct

from .canonical_json import digest_of_json
from .digest import Digest
from .errors import Malformed
from .target import Target

BUILD_VERSION = 1

Namespace = Annotated[str, Meta(min_length=1, max_length=64, pattern=r"^[a-z0-9][a-z0-9._-]*$(?!\n)")]
Component = Annotated[str, Meta(max_length=128, pattern=r"^[A-Za-z0-9._/-]*$(?!\n)")]
DEFAULT_NAMESPACE = "default"


def check_namespace(text: str) -> str:
    """Return `text` if it is a namespace. Raises Malformed."""
    try:
        return msgspec.convert(text, Namespace)
    except msgspec.ValidationError:
        raise Malformed(
            "a namespace has 1 to 64 of a-z, 0-9, . _ - and begins with a letter or digit"
        ) from None


class BuildEntry(Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """One entry of a model into compiled code: the function that was captured and its manifest.

    It is told apart by all three: one function may have several graphs, and a graph several dispatches.
    """

    name: Annotated[str, Meta(min_length=1, max_length=200)]
    manifest: Digest
    dispatch: Digest | None = None
    """Artifact key of the dispatch that lets a start skip the capture; its pieces are the manifest's."""


class Build(Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """What one start of a model needs, in the order in which it was first captured.

    Entries are added and never taken away: publishing a build again with more entries unites them.
    """

    namespace: Namespace = DEFAULT_NAMESPACE
    component: Component = ""
    """Which part of a model this is (a backbone, a draft model, an encoder); empty for a whole model."""
    model: Annotated[str, Meta(max_length=400)] = ""
    """What people call it. A label: not in the key."""
    sources: Digest
    """Digest of the source files that are traced."""
    config: Digest
    """Fingerprint of the model's configuration."""
    rank_layout: Annotated[dict[str, str], Meta(max_length=20)] = {}
    """World size, tensor-parallel rank and the like; empty for one process."""
    target: Target
    entries: Annotated[tuple[BuildEntry, ...], Meta(max_length=10_000)] = ()

    @property
    def key(self) -> str:
        """Digest of all that is known before capture."""
        return digest_of_json(
            {
                "version": BUILD_VERSION,
                "namespace": self.namespace,
                "component": self.component,
                "sources": self.sources,
                "config": self.config,
                "rank_layout": self.rank_layout,
                "target": self.target.fingerprint,
            }
        )
