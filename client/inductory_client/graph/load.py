"""Loading: from verified bytes to a callable, with nothing compiled and nothing written."""

from __future__ import annotations

import types
from collections.abc import Callable, Mapping, Sequence
from typing import Any

from inductory_client.contract.descriptor import NATIVE, PAYLOAD
from inductory_client.contract.digest import digest_of
from inductory_client.contract.errors import DigestMismatch, LoadFailed, TargetMismatch
from inductory_client.contract.target import Target, differences
from inductory_client.contract.wire import Subject

from . import torch_private
from .native import provider

LoadedPiece = Callable[..., Sequence[Any]]
"""Takes a piece's inputs in order, returns its outputs as a sequence."""


def load_piece(subject: Subject, blobs: Mapping[str, bytes], target: Target) -> LoadedPiece:
    """Load the artifact that a trusted signer described as `subject` from `blobs`, by digest. RUNS CODE.

    The caller has checked the signature. The bytes are checked here once more, and so is the target: on
    another instruction set a CPU artifact computes NaNs without a word. Raises DigestMismatch,
    TargetMismatch, LoadFailed.
    """
    if subject.target != target:
        named = "; ".join(str(difference) for difference in differences(target, subject.target))
        raise TargetMismatch(f"the artifact was made for something else: {named}")
    verified = {descriptor: _verified(blobs, descriptor.digest) for descriptor in subject.loaded}
    payloads = [data for descriptor, data in verified.items() if descriptor.media_type == PAYLOAD]
    natives = {item.name: data for item, data in verified.items() if item.media_type == NATIVE}
    if len(payloads) != 1:
        raise LoadFailed(f"the artifact has {len(payloads)} payloads where one is expected")
    try:
        with torch_private.native_kernels(provider(natives)):
            return torch_private.run_entry(torch_private.unpickle_entry(payloads[0]), _run_source)
    except LoadFailed:
        raise
    except Exception as error:
        # Whatever torch raises here, the answer is the same: this artifact can't be used in this process.
        raise LoadFailed(f"{type(error).__name__}: {error}") from error


def _verified(blobs: Mapping[str, bytes], digest: str) -> bytes:
    data = blobs.get(digest)
    if data is None or digest_of(data) != digest:
        raise DigestMismatch
    return data


def _run_source(graph: Any, source: str) -> types.ModuleType:
    """Run generated source from memory: a stale file in the Inductor cache is never looked at."""
    name = f"inductory.generated.{graph.cache_key}"
    module = types.ModuleType(name)
    module.__file__ = f"<{name}>"
    module.__dict__["key"] = graph.cache_key
    exec(compile(source, module.__file__, "exec", dont_inherit=True), module.__dict__)  # noqa: S102
    return module
