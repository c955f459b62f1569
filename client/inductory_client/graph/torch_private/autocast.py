"""Autocast, kept as it was."""

# mypy: disable-error-code="attr-defined,no-untyped-call,method-assign,misc"

from __future__ import annotations

import contextlib
from collections.abc import Iterator

import torch


@contextlib.contextmanager
def kept_autocast() -> Iterator[None]:
    """Put autocast back as it was, however the block ends.

    Graphs that switch it run for real on fake tensors; one that fails halfway would leave it on for whatever
    is compiled next.
    """
    devices = [(name, torch.is_autocast_enabled(name), torch.get_autocast_dtype(name)) for name in _AUTOCAST]
    cache, depth = torch.is_autocast_cache_enabled(), _autocast_depth()
    try:
        yield
    finally:
        for device, enabled, dtype in devices:
            torch.set_autocast_enabled(device, enabled)
            torch.set_autocast_dtype(device, dtype)
        torch.set_autocast_cache_enabled(cache)
        for _ in range(_autocast_depth() - depth):
            torch.autocast_decrement_nesting()


_AUTOCAST = ("cpu", "cuda")


def _autocast_depth() -> int:
    depth = torch.autocast_increment_nesting()
    torch.autocast_decrement_nesting()
    return int(depth)
