"""Artifact keys: what is looked up.

A key names everything that decides the code and nothing else. Model name, rank, node and submodule index are
not in it, so that equal pieces of different layers, models, ranks and releases are one artifact.
"""

from __future__ import annotations

from .canonical_json import digest_of_json
from .shape import Shape, shape_text

KEY_VERSION = 1

SCHEME = "inductory"
"""Our own keys. Keys that others make (vLLM's, Inductor's, Triton's) carry the name of their scheme."""

BACKEND = "inductor"
"""The compiler that makes our code."""
DISPATCH_BACKEND = "dynamo"
"""What makes a loadable dispatch. Its graph digest is that of what is known before a capture."""


def artifact_key(
    *, graph_digest: str, shape: Shape, backend: str, options: dict[str, str], target_fingerprint: str
) -> str:
    """Return the key of our own scheme: the digest of all that decides a piece's code."""
    return digest_of_json(
        {
            "version": KEY_VERSION,
            "scheme": SCHEME,
            "graph_digest": graph_digest,
            "shape": shape_text(shape),
            "backend": backend,
            "options": options,
            "target": target_fingerprint,
        }
    )


def foreign_key(*, scheme: str, key: str, shape: Shape, backend: str, target_fingerprint: str) -> str:
    """Return the artifact key that stands for `key`, which `scheme` made."""
    return digest_of_json(
        {
            "version": KEY_VERSION,
            "scheme": scheme,
            "key": key,
            "shape": shape_text(shape),
            "backend": backend,
            "target": target_fingerprint,
        }
    )
