"""One start of the model under a backend: `python benchmarks/_start.py inductory|inductor [LAYERS]`.

Prints JSON.
"""

from __future__ import annotations

import hashlib
import json
import sys
import time
from typing import Any

import _model
import torch
import torch._dynamo
from inductory_client.graph.report import reports
from inductory_client.integrations.torch_autoload import autoload


def main() -> None:
    if len(sys.argv) > 2:
        _model.CONFIG["num_hidden_layers"] = int(sys.argv[2])
    autoload()  # torch called it, where the package is installed with its metadata
    chosen = torch._dynamo.lookup_backend(sys.argv[1])
    seconds: list[float] = []

    def timed(module: torch.fx.GraphModule, inputs: Any) -> Any:
        began = time.perf_counter()
        call = chosen(module, inputs)
        seconds.append(time.perf_counter() - began)
        return call

    began = time.perf_counter()
    logits = _model.start(timed)
    first_call_s = time.perf_counter() - began
    counters = torch._dynamo.utils.counters
    steps: dict[str, float] = {}
    for report in reports():
        steps = {name: steps.get(name, 0.0) + spent for name, spent in report.seconds.items()}
    result = {
        "graphs": len(seconds),
        "backend_s": sum(seconds),
        "first_call_s": first_call_s,
        "logits_sha256": hashlib.sha256(logits.contiguous().numpy().tobytes()).hexdigest(),
        "outcomes": [report.outcome for report in reports()],
        "reasons": [report.reason for report in reports() if report.reason],
        "pieces": sum(report.pieces for report in reports()),
        "unique": sum(report.unique for report in reports()),
        "bytes_moved": sum(report.bytes_moved for report in reports()),
        "steps_s": steps,
        "autograd_cache_hits": counters["aot_autograd"]["autograd_cache_hit"],
        "fx_graph_cache_hits": counters["inductor"]["fxgraph_cache_hit"],
    }
    print(json.dumps(result))


if __name__ == "__main__":
    main()
