"""vLLM in two fresh processes, one after the other: the second loads what the first compiled.

    INDUCTORY_URL=http://127.0.0.1:8765 python examples/vllm/offline.py [MODEL]

MODEL is a name or a folder, as vLLM takes it; without one a small Qwen3 with made-up weights.
"""

from __future__ import annotations

import subprocess
import sys
import time

from nodes import nodes, small_model


def main() -> None:
    with nodes() as (shared, each):
        model = [sys.argv[1]] if len(sys.argv) > 1 else [str(small_model(shared)), "dummy"]
        for number, environ in each:
            command = [sys.executable, __file__, f"--node={number}", *model]
            done = subprocess.run(command, env=environ, check=False)
            if done.returncode:
                sys.exit(done.returncode)


def node(number: str, model: str, load_format: str = "auto") -> None:
    from vllm import LLM, SamplingParams

    began = time.perf_counter()
    llm = LLM(model, load_format=load_format, skip_tokenizer_init=True, max_model_len=2048, seed=0)
    took = time.perf_counter() - began
    sampling = SamplingParams(temperature=0.0, max_tokens=8, ignore_eos=True, detokenize=False)
    (answer,) = llm.generate([{"prompt_token_ids": [1, 2, 3]}], sampling, use_tqdm=False)
    print(f"node {number}: LLM() took {took:.1f} s; tokens {list(answer.outputs[0].token_ids)}", flush=True)


if __name__ == "__main__":
    if len(sys.argv) > 1 and sys.argv[1].startswith("--node="):
        node(sys.argv[1].removeprefix("--node="), *sys.argv[2:])
    else:
        main()
