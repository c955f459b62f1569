"""Signatures: what is known of a call before it is captured.

    forward(input_ids=<1 x 7 tokens>)  --> tree {"input_ids": {"tensor": 0}}, tensors [int64 cpu [1, 7]]

Tensors are listed apart, in the order in which they are met, so that two calls of one structure can be
compared length by length. A dimension is a length, or [least, greatest] where it varies.
"""

from __future__ import annotations

import enum
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from msgspec import Struct

from inductory_client.contract.shape import Shape
from inductory_client.graph import torch_private

Interval = tuple[int, int | None]
Dimension = int | Interval
Mark = tuple[torch.Tensor, int, Interval | None]
"""A tensor, a dimension of it, and the range that it varies in; None where the code decides."""

VARIES: Interval = (2, None)
"""0 and 1 are never part of a range: code for them is different code."""
WEIGHTS = -1
_VALUES_MAX = 20_000
_DEPTH_MAX = 16


class TensorKind(Struct, frozen=True, forbid_unknown_fields=True, array_like=True):
    """A tensor, but for its values."""

    dtype: str
    device: str
    requires_grad: bool
    contiguous: bool
    dimensions: tuple[int | tuple[int, int | None], ...]

    @property
    def varying(self) -> int:
        return sum(not isinstance(length, int) for length in self.dimensions)

    def like(self, other: TensorKind) -> bool:
        """Whether the two differ in nothing but lengths."""
        mine = (self.dtype, self.device, self.requires_grad, len(self.dimensions))
        return mine == (other.dtype, other.device, other.requires_grad, len(other.dimensions))

    def fits(self, call: TensorKind) -> bool:
        """Whether a tensor of `call`, whose lengths are known, is one of these."""
        return self.like(call) and all(map(_within, self.dimensions, call.dimensions))


class Signature(Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """What a call looks like."""

    tree: Any
    """Plain JSON: containers, values, and the numbers of tensors."""
    tensors: tuple[TensorKind, ...]
    shared: tuple[int, ...]
    """Of each tensor, the number of the first one whose memory it shares, its own where it shares none;
    WEIGHTS where it is the model's.
    """

    @property
    def keywords(self) -> tuple[str, ...]:
        """The names of the arguments that were given by name, in order."""
        return tuple(name for name, _ in self.tree[1]["dict"])

    @property
    def varying(self) -> int:
        """How many dimensions vary."""
        return sum(tensor.varying for tensor in self.tensors)

    def fits(self, call: Signature) -> bool:
        """Whether `call`, whose lengths are known, is one of these."""
        return self._alike(call) and all(map(TensorKind.fits, self.tensors, call.tensors))

    def varied(self, call: Signature) -> Signature | None:
        """Return `call` with the lengths varying in which it differs from this one; None where it differs in
        more, or in nothing.
        """
        if not self._alike(call):
            return None
        if not all(map(TensorKind.like, self.tensors, call.tensors)):
            return None
        tensors = tuple(map(_joined, self.tensors, call.tensors))
        made = Signature(tree=call.tree, tensors=tensors, shared=call.shared)
        return None if made == call else made

    def _alike(self, call: Signature) -> bool:
        if self.tree != call.tree or self.shared != call.shared:
            return False
        return len(self.tensors) == len(call.tensors)

    @property
    def shape(self) -> Shape:
        """The one range that varies, the number of elements of the first tensor of whole numbers where none
        does, and else any.
        """
        lengths = (length for tensor in self.tensors for length in tensor.dimensions)
        intervals = {length for length in lengths if not isinstance(length, int)}
        if len(intervals) == 1:
            low, high = next(iter(intervals))
            return low, high
        whole = [tensor for tensor in self.tensors if "int" in tensor.dtype]
        if intervals or not whole:
            return None
        size = 1
        for length in whole[0].dimensions:
            size *= length if isinstance(length, int) else 1
        return size


@dataclass(frozen=True)
class Call:
    """A call at hand: its signature, and its tensors in the signature's order."""

    signature: Signature
    tensors: tuple[torch.Tensor, ...]

    @property
    def lengths(self) -> Signature:
        """The call's signature with nothing varying."""
        kinds = tuple(_kind(tensor, None) for tensor in self.tensors)
        return Signature(tree=self.signature.tree, tensors=kinds, shared=self.signature.shared)

    def marks(self, wanted: Signature) -> list[Mark]:
        """Return what must be marked for a capture to vary as `wanted`, which fits this call, does."""
        found: list[Mark] = []
        for tensor, kind in zip(self.tensors, wanted.tensors, strict=True):
            already = torch_private.marks_of(tensor)
            for place, length in enumerate(kind.dimensions):
                if not isinstance(length, int) and place not in already:
                    found.append((tensor, place, None if length == VARIES else length))
        return found


def call_of(
    args: Sequence[Any],
    kwargs: Mapping[str, Any],
    lengths: Mapping[int, Mapping[int, Interval]] | None = None,
    weights: Iterable[torch.Tensor] = (),
) -> Call:
    """Describe a call. `lengths` are the ranges that were asked for, by the address of a tensor and its
    dimension; dimensions that are marked as dynamic vary, too. `weights` are the model's tensors.

    Arguments by name are described in their order: a model that goes through all of them sees it.
    """
    reader = _Reader()
    tree = [reader.read(tuple(args), 0), reader.read(dict(kwargs), 0)]
    kinds = tuple(_kind(tensor, (lengths or {}).get(id(tensor), {})) for tensor in reader.tensors)
    shared = _shared(reader.tensors, weights)
    return Call(Signature(tree=tree, tensors=kinds, shared=shared), tuple(reader.tensors))


class _Reader:
    def __init__(self) -> None:
        self.tensors: list[torch.Tensor] = []
        self._numbers: dict[int, int] = {}
        self._inside: set[int] = set()
        self._left = _VALUES_MAX

    def read(self, value: Any, depth: int) -> Any:
        self._left -= 1
        if isinstance(value, torch.Tensor):
            return {"tensor": self._number(value)}
        if isinstance(value, bool):
            return {"bool": value}  # in Python, True == 1
        plain = value is None or isinstance(value, (int, str))
        if plain and not isinstance(value, enum.Enum):
            return value
        if isinstance(value, float):
            return {"float": value.hex()}
        if self._left < 0 or depth > _DEPTH_MAX or id(value) in self._inside:
            return {"more": type(value).__qualname__}
        self._inside.add(id(value))
        try:
            return self._container(value, depth + 1)
        finally:
            self._inside.discard(id(value))

    def _number(self, tensor: torch.Tensor) -> int:
        if id(tensor) not in self._numbers:
            self._numbers[id(tensor)] = len(self.tensors)
            self.tensors.append(tensor)
        return self._numbers[id(tensor)]

    def _container(self, value: Any, depth: int) -> Any:
        if isinstance(value, (list, tuple)):
            kind = "list" if isinstance(value, list) else "tuple"
            return {kind: [self.read(item, depth) for item in value]}
        if isinstance(value, dict):
            return {"dict": [[str(key), self.read(item, depth)] for key, item in value.items()]}
        name = f"{type(value).__module__}.{type(value).__qualname__}"
        if isinstance(value, (torch.dtype, torch.device, torch.layout, enum.Enum)):
            return {"constant": [name, str(value)]}
        if isinstance(value, torch.nn.Module) or callable(value) or not hasattr(value, "__dict__"):
            return {"object": name}
        return {"object": name, "holds": self.read(vars(value), depth)}


def _shared(tensors: Sequence[torch.Tensor], weights: Iterable[torch.Tensor]) -> tuple[int, ...]:
    """Dynamo guards on inputs that are one object, and not on those that lie in one place: code that writes
    to one of them is other code.
    """
    first = {address: WEIGHTS for weight in weights if (address := torch_private.address_of(weight))}
    return tuple(
        first.setdefault(address, number) if (address := torch_private.address_of(tensor)) else number
        for number, tensor in enumerate(tensors)
    )


def _kind(tensor: torch.Tensor, asked: Mapping[int, Interval] | None) -> TensorKind:
    """Describe a tensor; its dimensions as they are where `asked` is None."""
    varies: dict[int, Interval] = {
        place: VARIES if interval is None else interval
        for place, interval in torch_private.marks_of(tensor).items()
        if asked is not None
    }
    varies.update(asked or {})
    dimensions = tuple(varies.get(place, int(length)) for place, length in enumerate(tensor.shape))
    return TensorKind(
        dtype=str(tensor.dtype).removeprefix("torch."),
        device=str(tensor.device),
        requires_grad=tensor.requires_grad,
        contiguous=tensor.layout is torch.strided and tensor.is_contiguous(),
        dimensions=dimensions,
    )


def _within(wanted: Dimension, length: Dimension) -> bool:
    if isinstance(wanted, int):
        return wanted == length
    low, high = wanted
    if not isinstance(length, int):
        return wanted == length
    return length >= low and (high is None or length <= high)


def _joined(before: TensorKind, call: TensorKind) -> TensorKind:
    dimensions = tuple(
        length if old == length or not isinstance(length, int) else _widened(old, length)
        for old, length in zip(before.dimensions, call.dimensions, strict=True)
    )
    return TensorKind(call.dtype, call.device, call.requires_grad, call.contiguous, dimensions)


def _widened(old: Dimension, length: int) -> Dimension:
    if length < 2 or (isinstance(old, int) and old < 2):
        return length
    return VARIES if isinstance(old, int) else old
