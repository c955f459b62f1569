"""One start of vLLM in a fresh process. Prints JSON.

    python benchmarks/_vllm_start.py MODEL [--tensor-parallel 2] [--gpu 1]

MODEL is a folder with a `config.json`: weights are made up, equal tokens mean equal kernels. Imports come
before the start; what counts is `LLM()`. On another GPU than the first it starts as the data-parallel rank
that vLLM would start there.
"""

from __future__ import annotations

import argparse
import json
import os
import sys
import time
from importlib.metadata import version
from typing import Any

TOKENS = 16
PROMPTS = (list(range(10, 42)), [7, 8, 9])


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("model")
    parser.add_argument("--tensor-parallel", type=int, default=1)
    parser.add_argument("--gpu", type=int, default=0)
    chosen = parser.parse_args()
    began = time.perf_counter()
    import torch
    from vllm import LLM, SamplingParams  # type: ignore[import-not-found]
    from vllm.compilation.counter import compilation_counter  # type: ignore[import-not-found]

    if chosen.gpu:
        _start_on(chosen.gpu)
    imported = time.perf_counter()
    llm = LLM(
        model=chosen.model,
        load_format="dummy",
        skip_tokenizer_init=True,
        max_model_len=4096,
        gpu_memory_utilization=0.5,
        tensor_parallel_size=chosen.tensor_parallel,
        seed=0,
    )
    ready = time.perf_counter()
    sampling = SamplingParams(temperature=0.0, max_tokens=TOKENS, ignore_eos=True, detokenize=False)
    prompts: Any = [{"prompt_token_ids": ids} for ids in PROMPTS]
    answers = llm.generate(prompts, sampling, use_tqdm=False)
    done = time.perf_counter()
    config = llm.llm_engine.vllm_config.compilation_config
    result = {
        "imports_s": imported - began,
        "llm_s": ready - imported,
        "generate_s": done - ready,
        "compile_s": config.compilation_time,
        "tokens": [list(answer.outputs[0].token_ids) for answer in answers],
        "tuned": _tuned(),
        "counters": {name: value for name, value in vars(compilation_counter).items() if value},
        "gpu": torch.cuda.get_device_name(),
        "machine": str(torch.cuda.get_device_properties(0).uuid),
        "engine": ", ".join(f"{name} {version(name)}" for name in ("vllm", "torch", "triton")),
        "inductory": _counts(),
    }
    sys.stdout.flush()
    print("\n" + json.dumps(result), flush=True)
    if chosen.tensor_parallel == 1:
        _close()


def _start_on(gpu: int) -> None:
    """Have vLLM's configuration say what it says of a data-parallel rank that is an engine of its own."""
    from vllm.engine.arg_utils import EngineArgs  # type: ignore[import-not-found]

    make = EngineArgs.create_engine_config

    def made(*args: Any, **kwargs: Any) -> Any:
        config = make(*args, **kwargs)
        config.parallel_config.data_parallel_rank_local = gpu
        config.parallel_config.data_parallel_index = gpu
        return config

    EngineArgs.create_engine_config = made


def _tuned() -> int:
    """Return for how many kernels Inductor timed several settings in this process."""
    from torch._dynamo.utils import compilation_time_metrics

    return len(compilation_time_metrics.get("CachingAutotuner.benchmark_all_configs", ()))


def _counts() -> dict[str, Any]:
    """Return what the plugin counted in this process; nothing where it isn't used."""
    from inductory_client.integrations.vllm import plugin

    counts = plugin.counts()
    if counts is None:
        return {}
    return {
        "served": dict(counts.served),
        "missed": dict(counts.missed),
        "offered": dict(counts.offered),
        "reasons": counts.reasons,
        "bytes_moved": counts.bytes_moved,
        "waited_s": counts.waited_s,
        "waited_by": dict(counts.seconds),
        "engine": counts.by_engine(),
    }


def _close() -> None:
    """End without taking vLLM apart, once what was compiled is published."""
    from inductory_client.settings import Settings
    from inductory_client.shared import shared_client

    if os.environ.get("INDUCTORY_URL"):
        began = time.perf_counter()
        shared_client(Settings.load()).close()
        print(f"published and closed within {time.perf_counter() - began:.2f} s", file=sys.stderr)
    sys.stderr.flush()
    os._exit(0)


if __name__ == "__main__":
    main()
