"""Stock torch.compile on two nodes: the second gets from the store what the first compiled.

    INDUCTORY_URL=http://127.0.0.1:8765 python examples/torch/stock_cache.py

The one line of Inductory's is needed where INDUCTORY_TORCH_CACHE=1 can't be set.
"""

from __future__ import annotations

import time

from two_nodes import node, on_two_nodes


def main() -> None:
    import inductory_client

    inductory_client.serve_torch_caches()

    import torch
    from torch import nn

    torch.manual_seed(0)
    model = nn.Sequential(nn.Linear(64, 64), nn.GELU(), nn.LayerNorm(64)).eval()
    began = time.perf_counter()
    with torch.inference_mode():
        output = torch.compile(model)(torch.ones(8, 64))
    seconds = time.perf_counter() - began

    counted = torch._dynamo.utils.counters["aot_autograd"]  # what torch itself found in its caches
    found, missed = counted["autograd_cache_hit"], counted["autograd_cache_miss"]
    print(f"node {node()}: found {found}, compiled {missed}; {seconds:.1f} s, sum {output.sum():.6f}")


if __name__ == "__main__":
    main() if node() else on_two_nodes(__file__)
