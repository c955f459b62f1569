"""What the caller asked to vary: `dynamic={"input_ids": {1: (2, 4096)}}`."""

from __future__ import annotations

import inspect
from collections.abc import Mapping
from typing import Any

import torch

from inductory_client.contract.errors import BadSettings

from .signature import VARIES, Interval

Ranges = Mapping[str, Mapping[int, Interval]]
"""By the name of an argument and the place of a dimension."""


class AskedLengths:
    """Ranges of lengths, for the calls of one class's forward."""

    def __init__(self, cls: type[torch.nn.Module], ranges: Ranges) -> None:
        """Raises BadSettings for a range that no call could mean."""
        self._signature = inspect.signature(cls.forward)
        self._ranges = ranges
        parameters = self._signature.parameters.values()
        self._more = next((each.name for each in parameters if each.kind is each.VAR_KEYWORD), None)
        for name, places in ranges.items():
            if name not in self._signature.parameters and self._more is None:
                raise BadSettings(f"dynamic: {cls.__name__}.forward has no argument {name!r}")
            for place, (low, high) in places.items():
                if place < 0 or low < VARIES[0] or (high is not None and high <= low):
                    raise BadSettings(
                        f"dynamic: dimension {place} of {name!r} can't be {low} to {high} long: places are "
                        "counted from 0, and code for lengths of 0 and 1 is other code"
                    )

    def of(
        self, model: torch.nn.Module, args: tuple[Any, ...], kwargs: dict[str, Any]
    ) -> dict[int, dict[int, Interval]]:
        """Return the ranges that a call's lengths are in, by the address of the tensor. Raises TypeError for
        arguments that forward doesn't take.
        """
        if not self._ranges:
            return {}
        given = self._signature.bind(model, *args, **kwargs).arguments
        given |= given.get(self._more or "", {})
        tensors = {name: given[name] for name in self._ranges if isinstance(given.get(name), torch.Tensor)}
        return {
            id(tensor): {p: r for p, r in self._ranges[name].items() if _within(tensor, p, r)}
            for name, tensor in tensors.items()
        }


def _within(tensor: torch.Tensor, place: int, interval: Interval) -> bool:
    """Whether this length is in the range: a step of one token isn't, where prompts are to vary."""
    low, high = interval
    length = tensor.shape[place] if place < tensor.dim() else -1
    return length >= low and (high is None or length <= high)
