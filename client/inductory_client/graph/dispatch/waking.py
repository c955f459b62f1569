"""Waking: a GPU's libraries load code for what they are asked for the first time; here a thread asks first.

The first attention and the first matrix product of a process wait for the driver for most of a second. Python
isn't needed meanwhile: guards are rebuilt beside it. What is computed is thrown away, so nothing is asked for
that writes, draws random numbers or may be an engine's own: attention by torch's own operator, and a product.
"""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterable, Sequence
from typing import Any

import torch

from inductory_client.graph import torch_private
from inductory_client.graph.canonical import Canonical
from inductory_client.graph.decoding import named_constant
from inductory_client.trouble import log

from .container import Example

BYTES_MAX = 256 << 20
"""What one input may take."""

Part = tuple[Callable[..., Any], Sequence[Example | int]]
"""What is called, and what with."""

_BEGUN: set[tuple[torch.device, Any]] = set()
"""What was woken or is being woken: it is done once."""

_ATTENTION = "fn:torch._C._nn.scaled_dot_product_attention"
_DROPOUT = 4
"""The place of its probability among the arguments."""
_MATRIX = (64, 64)


def examples_of(canonical: Canonical, inputs: Sequence[Any]) -> tuple[Example | int, ...]:
    """Return inputs that attention on a GPU may be woken with; none where it is to be left asleep."""
    form = canonical.form
    if not form["nodes"] or not all(_is_harmless(node) for node in form["nodes"]):
        return ()
    hints = {canonical.symbols[symbol["name"]]: symbol["hint"] for symbol in form["symbols"]}

    def length(size: Any) -> int:
        expression = torch_private.expression_of(size)
        return expression if isinstance(expression, int) else int(expression.xreplace(hints))

    found: list[Example | int] = []
    for value in inputs:
        if not isinstance(value, torch.Tensor):
            found.append(length(value))
            continue
        if value.device.type != "cuda":
            return ()
        sizes = tuple(length(size) for size in value.shape)
        strides = tuple(length(stride) for stride in value.stride())
        found.append(Example(str(value.dtype).removeprefix("torch."), sizes, strides))
    return tuple(found)


def _is_harmless(node: Any) -> bool:
    if isinstance(node, dict) or node[0] != _ATTENTION:
        return False
    _, arguments, *rest = node
    named = rest[0] if rest else {}
    dropout = arguments[_DROPOUT] if len(arguments) > _DROPOUT else named.get("dropout_p", 0)
    return dropout in (0, {"float": (0.0).hex()})


def wake(parts: Iterable[Part], device: torch.device) -> None:
    """Begin to call `parts` and to multiply matrices, each kind in a daemon thread of its own.

    Never raises and never waits. Nothing is done without parts on a GPU.
    """
    asleep = [part for part in parts if part[1] and (device, tuple(part[1])) not in _BEGUN]
    if device.type != "cuda" or not asleep:
        return
    _BEGUN.update((device, tuple(inputs)) for _, inputs in asleep)
    dtypes = (given.dtype for _, inputs in asleep for given in inputs if isinstance(given, Example))
    dtype = next(dtypes, "float32")  # attention has tensors; who says otherwise is not to stop a load
    square = Example(dtype, _MATRIX, (_MATRIX[1], 1))
    for name, asked in (("attention", asleep), ("product", [(torch.mm, (square, square))])):
        thread = threading.Thread(
            target=_call, args=(asked, device), name=f"inductory-wake-{name}", daemon=True
        )
        try:
            thread.start()
        except RuntimeError:  # the interpreter is on its way out
            return


def _call(parts: Sequence[Part], device: torch.device) -> None:
    try:
        with torch.no_grad():
            for call, inputs in parts:
                made = [_made(given, device) for given in inputs]
                call(*made)
    except Exception as error:  # the call itself meets it again, if it means anything
        log.debug("a library is left to wake by itself: %s: %s", type(error).__name__, error)


def _made(given: Example | int, device: torch.device) -> Any:
    if isinstance(given, int):
        return given
    dtype = named_constant("dtype", given.dtype)
    reach = 1 + sum((size - 1) * stride for size, stride in zip(given.sizes, given.strides, strict=True))
    if reach * dtype.itemsize > BYTES_MAX:
        raise MemoryError(f"an input of {reach} elements is too much to wake something with")
    return torch.empty_strided(given.sizes, given.strides, dtype=dtype, device=device)
