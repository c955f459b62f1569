"""Compiling for a GPU: on which, how alike, and with what its kernels are tuned."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import torch
from inductory_client.graph import torch_private
from inductory_client.graph.unsupported import Unsupported


@contextlib.contextmanager
def compiling_for_gpu(device: int, options: Mapping[str, Any]) -> Iterator[None]:
    """Compile for the GPU of that index, in a way that kernels can be taken from. Raises Unsupported."""
    if torch_private.records_cuda_graphs(options):
        raise Unsupported(
            "CUDA graphs are recorded in each process (`triton.cudagraphs`), and can't be shared"
        )
    with torch.cuda.device(device), torch_private.static_launchers(), torch_private.without_line_numbers():
        yield


def example_tensors(inputs: Sequence[Any]) -> list[Any]:
    """Return real inputs to tune with, as long as the canonical lengths say. Numbers are valid indices.

    Raises torch.OutOfMemoryError where they don't fit beside the model.
    """
    return [
        _real(value) if isinstance(value, torch.Tensor) else torch_private.hint_of(value) for value in inputs
    ]


def _real(value: torch.Tensor) -> torch.Tensor:
    """Return a tensor laid out as the fake `value`. What isn't a float may be an index: it is zero."""
    size, stride = (
        [torch_private.hint_of(length) for length in lengths] for lengths in (value.shape, value.stride())
    )
    offset = torch_private.hint_of(value.storage_offset())
    span = (
        offset + 1 + sum((length - 1) * step for length, step in zip(size, stride, strict=True) if length > 0)
    )
    storage = torch.zeros(span, dtype=value.dtype, device=value.device)
    if value.dtype in (torch.float32, torch.float16, torch.bfloat16, torch.float64):
        storage.normal_()
    return storage.as_strided(size, stride, offset)
