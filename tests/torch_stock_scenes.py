"""Scenes of stock torch.compile, played in processes of their own: nothing here names Inductory's backend."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable
from typing import Any

import inductory_client
import torch
from msgspec.structs import asdict
from torch.nn.functional import silu
from torch_cases import close, fingerprint, outputs
from torch_models import values


def _product(x: torch.Tensor) -> torch.Tensor:
    """What Inductor hands to libraries: its code is Python, and no C++ compiler is asked for anything."""
    return torch.mm(torch.mm(x, x), x)


def _kernel(x: torch.Tensor) -> torch.Tensor:
    return silu(x + 1) * 2


def _compile(function: Callable[..., Any], inputs: tuple[Any, ...]) -> dict[str, Any]:
    began = time.monotonic()
    found = outputs(torch.compile(function), inputs)
    seconds = time.monotonic() - began
    return {
        "fingerprint": fingerprint(found),
        "close": close(found, outputs(function, inputs)),
        "seconds": seconds,
    }


def product() -> dict[str, Any]:
    return _compile(_product, (values(8, 8),))


def kernel() -> dict[str, Any]:
    return _compile(_kernel, (values(8, 8),))


def in_a_thread() -> dict[str, Any]:
    """Compile where an engine does: not in the thread that imported torch."""
    found: dict[str, Any] = {}
    thread = threading.Thread(target=lambda: found.update(product()))
    thread.start()
    thread.join()
    return found


def training() -> dict[str, Any]:
    """Forward and backward: the entry is put when the backward is compiled."""
    weight = values(8, 8).requires_grad_()
    torch.compile(_product)(weight).sum().backward()
    found, weight.grad = weight.grad, None
    _product(weight).sum().backward()
    assert found is not None
    assert weight.grad is not None
    return {"close": torch.allclose(found, weight.grad, atol=1e-4)}


def _told(cache: Any) -> dict[str, Any] | None:
    return None if cache is None else asdict(cache)


def mega_cache() -> dict[str, Any]:
    """Load, compile, save: what every node of a fleet may do."""
    loaded = inductory_client.load_cache("scene")
    ran = product()
    return ran | {"loaded": _told(loaded), "saved": _told(inductory_client.save_cache("scene"))}


def mega_cache_grown() -> dict[str, Any]:
    """The same with one more function."""
    loaded = inductory_client.load_cache("scene")
    ran = product()
    torch.compile(lambda x: torch.mm(x, x.t()))(values(4, 4))
    return ran | {"loaded": _told(loaded), "saved": _told(inductory_client.save_cache("scene"))}


SCENES: dict[str, Callable[[], dict[str, Any]]] = {
    scene.__name__: scene
    for scene in (product, kernel, in_a_thread, training, mega_cache, mega_cache_grown)
}
