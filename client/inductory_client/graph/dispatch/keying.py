"""Keys: a dispatch is looked up by what is known of a call before it is captured."""

from __future__ import annotations

import importlib.metadata
import json
from dataclasses import dataclass
from functools import lru_cache
from typing import Any

import torch

from inductory_client.contract.canonical_json import digest_of_json
from inductory_client.contract.digest import digest_of
from inductory_client.contract.key import DISPATCH_BACKEND, artifact_key
from inductory_client.contract.target import Target
from inductory_client.graph import torch_private
from inductory_client.graph.factors import canonical_options
from inductory_client.graph.identity import ModelIdentity

from . import container, entry
from .behaviour import behaviour_of
from .signature import Signature
from .sources import source_digest

KEY_VERSION = 1


@dataclass(frozen=True)
class DispatchKey:
    """What a dispatch is called, and what that is made of."""

    graph_digest: str
    """Digest of what is known before the capture."""
    key: str


def dispatch_key(
    identity: ModelIdentity,
    beside: Any,
    signature: Signature,
    target: Target,
    options: dict[str, str],
) -> DispatchKey:
    """Return the key of the dispatch for calls like `signature` in the modes that the process is in."""
    graph_digest = digest_of_json(
        {
            "version": [KEY_VERSION, container.VERSION, source_digest(entry.__name__)],
            "sources": identity.sources,
            "config": identity.config,
            "beside": beside,
            "signature": {
                "tree": signature.tree,
                "tensors": [
                    [t.dtype, t.device, t.requires_grad, t.contiguous, t.dimensions]
                    for t in signature.tensors
                ],
                "shared": signature.shared,
            },
            "modes": [
                torch.is_grad_enabled(),
                torch.is_inference_mode_enabled(),
                str(torch.get_default_device()),
            ],
            "dynamo": _dynamo_digest(),
        }
    )
    key = artifact_key(
        graph_digest=graph_digest,
        shape=signature.shape,
        backend=DISPATCH_BACKEND,
        options=options,
        target_fingerprint=target.fingerprint,
    )
    return DispatchKey(graph_digest, key)


def options_of(patches: dict[str, Any], splitting_ops: tuple[str, ...]) -> dict[str, str]:
    """Return a dispatch's options: Inductor's configuration patches, and where else the graph is split."""
    split = {"splitting_ops": ",".join(splitting_ops)} if splitting_ops else {}
    return canonical_options(patches) | split


def beside_identity(model: torch.nn.Module) -> Any:
    """Return what decides a capture of `model` and isn't in its identity: the versions of the packages that
    its classes come from, which are traced, too, what these classes do, and which of its tensors want
    gradients.
    """
    tops = {type(module).__module__.partition(".")[0] for module in model.modules()} - {"torch"}
    versions = {top: version for top in sorted(tops) if (version := _version(top)) is not None}
    wanted = sorted(name for name, weight in model.named_parameters() if weight.requires_grad)
    return [versions, behaviour_of(model), wanted]


@lru_cache(maxsize=1000)
def _version(package: str) -> str | None:
    try:
        return importlib.metadata.version(package)
    except importlib.metadata.PackageNotFoundError:
        return None


def _dynamo_digest() -> str:
    return digest_of(json.dumps(torch_private.dynamo_settings(), sort_keys=True, default=_text).encode())


def _text(value: Any) -> Any:
    return sorted(map(repr, value)) if isinstance(value, (set, frozenset)) else repr(value)
