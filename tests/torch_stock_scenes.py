"""Scenes of stock torch.compile, played in processes of their own: nothing here names Inductory's backend."""

from __future__ import annotations

import threading
from collections.abc import Callable
from typing import Any

import inductory_client
import torch
from msgspec.structs import asdict
from torch._dynamo.utils import counters
from torch.nn.functional import silu
from torch_cases import close, fingerprint, outputs
from torch_models import values

Function = Callable[[torch.Tensor], torch.Tensor]


def _hits() -> dict[str, int]:
    """What torch itself counts as found and as not."""
    return {
        "autograd_hits": counters["aot_autograd"]["autograd_cache_hit"],
        "autograd_misses": counters["aot_autograd"]["autograd_cache_miss"],
        "graph_hits": counters["inductor"]["fxgraph_cache_hit"],
        "graph_misses": counters["inductor"]["fxgraph_cache_miss"],
    }


def _ran(function: Function, width: int = 8) -> dict[str, Any]:
    before, inputs = _hits(), (values(width, width),)
    found = outputs(torch.compile(function), inputs)
    right = close(found, outputs(function, inputs))
    counted = {name: count - before[name] for name, count in _hits().items()}
    return {"fingerprint": fingerprint(found), "close": right, **counted}


def _product(x: torch.Tensor) -> torch.Tensor:
    """What Inductor hands to libraries: its code is Python, and no C++ compiler is asked for anything."""
    return torch.mm(torch.mm(x, x), x)


def product() -> dict[str, Any]:
    return _ran(_product)


def kernel() -> dict[str, Any]:
    return _ran(lambda x: silu(x + 1) * 2)


def in_a_thread() -> dict[str, Any]:
    """Compile where an engine does: not in the thread that imported torch."""
    found: dict[str, Any] = {}
    thread = threading.Thread(target=lambda: found.update(_ran(lambda x: torch.mm(x, x.t()), width=6)))
    thread.start()
    thread.join()
    return found


def training() -> dict[str, Any]:
    """Forward and backward: AOTAutograd puts its entry when the backward is compiled."""
    before, weight = _hits(), values(4, 4).requires_grad_()
    torch.compile(lambda x: torch.mm(x, x))(weight).sum().backward()
    found, weight.grad = weight.grad, None
    torch.mm(weight, weight).sum().backward()
    assert found is not None
    assert weight.grad is not None
    counted = {name: count - before[name] for name, count in _hits().items()}
    return {"close": torch.allclose(found, weight.grad, atol=1e-4), **counted}


def _with_mega_cache(run: Callable[[], dict[str, Any]]) -> dict[str, Any]:
    """Load, compile, save: what every node of a fleet may do."""
    loaded = inductory_client.load_cache("scene")
    ran = run()
    told = {"loaded": loaded, "saved": inductory_client.save_cache("scene")}
    return ran | {name: None if each is None else asdict(each) for name, each in told.items()}


def mega_cache() -> dict[str, Any]:
    return _with_mega_cache(product)


def mega_cache_grown() -> dict[str, Any]:
    """The same process with one function more."""
    return _with_mega_cache(lambda: _ran(lambda x: torch.mm(x, x + 0), width=5))


SCENES: dict[str, Callable[[], dict[str, Any]]] = {
    scene.__name__: scene for scene in (product, kernel, in_a_thread, training, mega_cache, mega_cache_grown)
}
