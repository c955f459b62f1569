"""What it costs to know a piece: its canonical form and key, and torch's own key beside it.

    python benchmarks/keying.py [REPEATS]  -->  build/bench/keying.json

One process captures the model once, and does each step again and again while the capture is alive. The first
time is told apart: it fills the tables that the process keeps.
"""

from __future__ import annotations

import statistics
import sys
import time
from collections.abc import Callable, Sequence
from typing import Any

import _model
import torch.fx
from _harness import finish, progress
from inductory_client.graph.canonical import example_inputs, fixed_size, returns_bare
from inductory_client.graph.captured import capture, key_part
from inductory_client.graph.factors import current_target
from inductory_client.graph.split import split_graph
from torch._functorch import config as functorch_config
from torch._inductor.standalone_compile import autograd_cache_key

REPEATS = 51
GOALS = {"ms_per_piece": ("at_most", 1.0)}
MEASURED = {
    "ms_per_piece": "checks, canonical form, graph digest, shape and artifact key, a piece; median",
    "split_ms": "splitting the captured graph at attention; median",
    "target_ms": "the factors of this machine and software; median",
    "capture_ms": "all that is done before a fetch: split, target, every key, the outer graph; median",
    "first_capture_ms": "the same, the first time in a process: torch hashes its own sources, among others",
    "torch_ms_per_piece": "torch's own autograd_cache_key, a piece (of those that return a tuple); median",
}


def main() -> None:
    repeats = int(sys.argv[1]) if len(sys.argv) > 1 else REPEATS
    figures: dict[str, Any] = {}

    def backend(module: torch.fx.GraphModule, inputs: Sequence[Any]) -> Callable[..., Any]:
        figures.update(_figures(module, inputs, repeats))
        return module.forward

    progress("capturing the model")
    _model.start(backend)
    finish("keying", figures, GOALS, measured=MEASURED)


def _figures(module: torch.fx.GraphModule, inputs: Sequence[Any], repeats: int) -> dict[str, Any]:
    progress(f"keying, {repeats} times")
    (first,) = _milliseconds(lambda: capture(module, inputs), 1)
    pieces = split_graph(module).pieces
    tuples = [part for part in pieces if not returns_bare(part.module)]
    fixed = fixed_size(example_inputs(module))
    fingerprint = current_target({"cpu"}).fingerprint

    def key_all() -> None:
        for part in pieces:
            key_part(part, fixed, fingerprint, {})

    def torch_key_all() -> None:
        for part in tuples:
            autograd_cache_key(part.module, part.inputs(), dynamic_shapes="from_graph", aot=True)

    times = {
        "ms_per_piece": [spent / len(pieces) for spent in _milliseconds(key_all, repeats)],
        "split_ms": _milliseconds(lambda: split_graph(module), repeats),
        "target_ms": _milliseconds(lambda: current_target({"cpu"}).fingerprint, repeats),
        "capture_ms": _milliseconds(lambda: capture(module, inputs), repeats),
    }
    progress("torch's own keys")
    with functorch_config.patch(bypass_autograd_cache_key=False):
        spent = _milliseconds(torch_key_all, max(3, repeats // 5))
    times["torch_ms_per_piece"] = [each / len(tuples) for each in spent]
    medians = {name: round(statistics.median(taken), 3) for name, taken in times.items()}
    return medians | {"first_capture_ms": round(first, 1), "pieces": len(pieces), "repeats": repeats}


def _milliseconds(work: Callable[[], Any], repeats: int) -> list[float]:
    taken = []
    for _ in range(repeats):
        began = time.perf_counter()
        work()
        taken.append((time.perf_counter() - began) * 1e3)
    return taken


if __name__ == "__main__":
    main()
