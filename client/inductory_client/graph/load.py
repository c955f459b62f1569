"""Loading: from verified bytes to a callable, with nothing compiled and nothing written."""

from __future__ import annotations

import ast
import functools
import types
from collections.abc import Callable, Mapping, Sequence
from typing import Any

from inductory_client.contract.descriptor import NATIVE, PAYLOAD
from inductory_client.contract.digest import digest_of
from inductory_client.contract.errors import DigestMismatch, LoadFailed, TargetMismatch
from inductory_client.contract.target import Target, differences, unmet
from inductory_client.contract.wire import Subject

from . import torch_private
from .device_source import device_index, on_device
from .kernels import ArtifactKernels
from .unsupported import Unsupported

LoadedPiece = Callable[..., Sequence[Any]]
"""Takes a piece's inputs in order, returns its outputs as a sequence."""


def load_piece(
    subject: Subject, blobs: Mapping[str, bytes], target: Target, device: int | None = None
) -> LoadedPiece:
    """Load the artifact that a trusted signer described as `subject` from `blobs`, by digest. RUNS CODE.

    `device` is the index of the GPU that it is to run on; None where no GPU is used.

    The caller has checked the signature. The bytes are checked here once more, and so is the target: on
    another instruction set a CPU artifact computes NaNs without a word. Raises DigestMismatch,
    TargetMismatch, LoadFailed.
    """
    if subject.target != target:
        named = "; ".join(str(difference) for difference in differences(target, subject.target))
        raise TargetMismatch(f"the artifact was made for something else: {named}")
    have = {} if device is None else torch_private.gpu_versions()
    if short := unmet(subject.requires, have):
        raise TargetMismatch(f"the artifact needs more than is here: {'; '.join(short)}")
    verified = {descriptor: _verified(blobs, descriptor.digest) for descriptor in subject.loaded}
    payloads = [data for descriptor, data in verified.items() if descriptor.media_type == PAYLOAD]
    natives = {item.name: data for item, data in verified.items() if item.media_type == NATIVE}
    if len(payloads) != 1:
        raise LoadFailed(f"the artifact has {len(payloads)} payloads where one is expected")
    try:
        with torch_private.provided_kernels(ArtifactKernels(natives, device)):
            entry = torch_private.unpickle_entry(payloads[0])
            if device is not None:
                torch_private.check_one_gpu(entry, 0)  # as every one is kept
            call = torch_private.run_entry(entry, functools.partial(_run_source, device=device))
    except LoadFailed:
        raise
    except Unsupported as error:
        raise LoadFailed(str(error)) from error
    except Exception as error:
        # Whatever torch raises here, the answer is the same: this artifact can't be used in this process.
        raise LoadFailed(f"{type(error).__name__}: {error}") from error
    return call if device is None else checked_device(call, device)


def _verified(blobs: Mapping[str, bytes], digest: str) -> bytes:
    data = blobs.get(digest)
    if data is None or digest_of(data) != digest:
        raise DigestMismatch
    return data


def _run_source(graph: Any, source: str, *, device: int | None) -> types.ModuleType:
    """Run generated source from memory: a stale file in the Inductor cache is never looked at."""
    name = f"inductory.generated.{graph.cache_key}"
    module = types.ModuleType(name)
    module.__file__ = f"<{name}>"
    module.__dict__["key"] = graph.cache_key
    code = compile(_for_device(source, device), module.__file__, "exec", dont_inherit=True)
    exec(code, module.__dict__)  # noqa: S102
    return module


def _for_device(source: str, device: int | None) -> str | ast.Module:
    """Return generated source for the GPU that it is to run on. Raises Unsupported where it can't be."""
    if device is None:
        return source
    tree = ast.parse(source)
    return tree if device_index(tree) in (None, device) else on_device(tree, device)


def checked_device(call: LoadedPiece, device: int) -> LoadedPiece:
    """Have the first call look whether its inputs are on the GPU that the code is for.

    On another one it might run all the same, on the wrong GPU. Later calls are those that Dynamo's guards,
    which hold the device, let through to the same code.
    """
    seen = False

    def checked(*inputs: Any) -> Sequence[Any]:
        nonlocal seen
        if not seen:
            for value in inputs:
                place = getattr(value, "device", None)
                if place is not None and place.type == "cuda" and place.index != device:
                    raise RuntimeError(f"code for cuda:{device} was called with a tensor on {place}")
            seen = True
        return call(*inputs)

    return checked
