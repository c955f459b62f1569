"""A tiny model in vLLM's own compilation on a CPU, for tests: run with an interpreter that has vLLM.

    python tiny_vllm.py [--scale S] --> RESULT {"sums": [...], "counters": {...}, "served": {...}, ...}
    python tiny_vllm.py --ranks 2   --> as much of each rank, which go on together after each step

Its attention is an operation of its own, so that it is split as a real model is: seven pieces, three of them
different. What vLLM needs of a GPU is switched off. (No `annotations` from the future: vLLM reads types from
signatures.)
"""

import argparse
import json
import logging
import multiprocessing
import sys
import tempfile
from pathlib import Path
from typing import Any

import torch
from torch.library import Library

LAYERS, WIDTH = 6, 16

_library = Library("tiny", "FRAGMENT")


def _attention(query: torch.Tensor, out: torch.Tensor) -> None:
    out.copy_(query * 2)


_library.define("attention(Tensor query, Tensor(a!) out) -> ()")
_library.impl("attention", _attention, "CPU")
_library._register_fake("attention", lambda query, out: None)


def configuration(ranks: int) -> Any:
    from vllm.config import (
        CompilationConfig,
        CompilationMode,
        CUDAGraphMode,
        DeviceConfig,
        ParallelConfig,
        PassConfig,
        VllmConfig,
    )

    passes = PassConfig(
        fuse_rope_kvcache_cat_mla=False,
        fuse_norm_quant=False,
        fuse_act_quant=False,
        fuse_attn_quant=False,
        fuse_allreduce_rms=False,
        enable_qk_norm_rope_fusion=False,
    )
    compilation = CompilationConfig(
        mode=CompilationMode.VLLM_COMPILE,
        backend="inductor",
        pass_config=passes,
        splitting_ops=["tiny::attention"],
        cudagraph_mode=CUDAGraphMode.NONE,
        compile_sizes=[],
    )
    parallel = (
        ParallelConfig(tensor_parallel_size=ranks, distributed_executor_backend="mp")
        if ranks > 1
        else ParallelConfig()
    )
    return VllmConfig(
        device_config=DeviceConfig(device="cpu"), compilation_config=compilation, parallel_config=parallel
    )


def model_class(scale: float) -> Any:
    from vllm.compilation.decorators import support_torch_compile

    class Tiny(torch.nn.Module):
        def __init__(self, *, vllm_config: Any, prefix: str = "") -> None:
            super().__init__()
            weights = [torch.full((WIDTH, WIDTH), scale * (layer + 1)) for layer in range(LAYERS)]
            self.weights = torch.nn.ParameterList(
                [torch.nn.Parameter(weight, requires_grad=False) for weight in weights]
            )

        def forward(self, x: torch.Tensor) -> torch.Tensor:
            for weight in self.weights:
                hidden = torch.nn.functional.silu(x @ weight) + x
                out = torch.empty_like(hidden)
                torch.ops.tiny.attention(hidden, out)
                x = out * 0.5 + hidden
            return x

    return support_torch_compile(Tiny)


def main() -> None:
    arguments = argparse.ArgumentParser()
    arguments.add_argument("--scale", type=float, default=0.01)
    arguments.add_argument("--ranks", type=int, default=1)
    options = arguments.parse_args()
    if options.ranks == 1:
        run(options.scale)
        return
    config = configuration(options.ranks)
    spawn = multiprocessing.get_context("spawn")  # as vLLM starts its workers
    with tempfile.TemporaryDirectory() as folder:
        ranks = [
            spawn.Process(target=run_rank, args=(config, options.scale, rank, folder))
            for rank in range(options.ranks)
        ]
        for each in ranks:
            each.start()
        for each in ranks:
            each.join()
    assert [each.exitcode for each in ranks] == [0] * options.ranks


def run_rank(config: Any, scale: float, rank: int, folder: str) -> None:
    """Run one of several ranks, which meet in `folder`."""
    ranks = config.parallel_config.world_size
    config.parallel_config.rank = rank
    where = (Path(folder) / "ranks").as_uri()
    torch.distributed.init_process_group("gloo", init_method=where, world_size=ranks, rank=rank)
    run(scale, config)
    torch.distributed.destroy_process_group()


def run(scale: float, config: Any = None) -> None:
    logging.getLogger("inductory").setLevel(logging.DEBUG)

    from vllm.compilation.counter import compilation_counter
    from vllm.compilation.passes.utility import fix_functionalization
    from vllm.config import set_current_vllm_config
    from vllm.forward_context import set_forward_context
    from vllm.plugins import load_general_plugins

    # It calls an operation of the CUDA build.
    fix_functionalization.FixFunctionalizationPass.__call__ = lambda self, graph: None
    load_general_plugins()
    config = config or configuration(1)
    with set_forward_context({}, config), set_current_vllm_config(config):
        model = model_class(scale)(vllm_config=config)
        sums = []
        for tokens in (8, 5):
            out = model(torch.ones(tokens, WIDTH))
            if torch.distributed.is_initialized():
                torch.distributed.all_reduce(out)
            sums.append(float(out.sum()))
    from inductory_client.integrations.vllm import plugin

    counts = plugin.counts()
    told = {name: value for name, value in vars(compilation_counter).items() if value}
    result = {
        "sums": sums,
        "counters": told,
        **{name: dict(getattr(counts, name, {})) for name in ("served", "missed", "offered")},
        "bytes_moved": counts.bytes_moved if counts else 0,
        "line": counts.line() if counts else "",
    }
    # At once, though other ranks write there, too.
    sys.stdout.write(f"RESULT {json.dumps(result)}\n")
    sys.stdout.flush()


if __name__ == "__main__":
    main()
