"""A Mega-Cache on two nodes: all that the first compiled, saved under a name and loaded by the second.

INDUCTORY_URL=http://127.0.0.1:8765 python examples/torch/mega_cache.py
"""

from __future__ import annotations

from two_nodes import node, on_two_nodes

NAME = "example-model@1"
"""What is saved first under a name stays: a release of the model has a name of its own."""


def main() -> None:
    import inductory_client
    import torch
    from torch import nn

    loaded = inductory_client.load_cache(NAME)

    torch.manual_seed(0)
    model = nn.Sequential(nn.Linear(64, 64), nn.GELU(), nn.LayerNorm(64)).eval()
    with torch.inference_mode():
        output = torch.compile(model)(torch.ones(8, 64))

    saved = inductory_client.save_cache(NAME)
    counted = torch._dynamo.utils.counters["aot_autograd"]
    found, missed = counted["autograd_cache_hit"], counted["autograd_cache_miss"]
    print(f"node {node()}: loaded {loaded.entries if loaded else 'nothing'}")
    print(f"node {node()}: found {found}, compiled {missed}, sum {output.sum():.6f}")
    print(f"node {node()}: saved {saved.size if saved else 0} bytes: {saved.outcome if saved else 'failed'}")


if __name__ == "__main__":
    main() if node() else on_two_nodes(__file__)
