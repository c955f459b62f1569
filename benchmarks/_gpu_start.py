"""One start of a model in a fresh process. Prints JSON.

    python benchmarks/_gpu_start.py captured|dispatch [--mode MODE] [--device cuda:0] [--small]

The model is transformers' Qwen3 with the shape of Qwen3-1.7B, or a small one. All but the imports, CUDA's
initialisation and the model's construction counts as the start.
"""

from __future__ import annotations

import argparse
import contextlib
import hashlib
import importlib
import json
import os
import sys
import time
from collections.abc import Callable, Iterator
from typing import Any

SHAPE: dict[str, Any] = {
    "hidden_size": 2048,
    "intermediate_size": 6144,
    "num_hidden_layers": 28,
    "num_attention_heads": 16,
    "num_key_value_heads": 8,
    "head_dim": 128,
    "vocab_size": 151936,
    "tie_word_embeddings": True,
    "use_cache": False,
}
SMALL = {"hidden_size": 128, "intermediate_size": 256, "num_hidden_layers": 4, "num_attention_heads": 4,
         "num_key_value_heads": 2, "head_dim": 32, "vocab_size": 500}  # fmt: skip
OPTIONS: dict[str, dict[str, Any]] = {
    "normal": {},
    "reproducible": {"reproducible": True},
    "max-autotune": {"config_patches": {"max_autotune": True, "coordinate_descent_tuning": True}},
}
TOKENS = 512
OTHER_TOKENS = 77
KERNEL_TOKENS = (16, 512, 4096)
"""Lengths at which the code's time on the GPU is measured."""
REPEATS = 30
RANGE = (2, 8192)
"""Longer ones would have logits whose places don't fit into 32 bits, which other code computes."""


class Clock:
    """Seconds by name, one step after the other."""

    def __init__(self) -> None:
        self.seconds: dict[str, float] = {}
        self._last = time.perf_counter()

    def lap(self, name: str) -> None:
        now = time.perf_counter()
        self.seconds[name] = now - self._last
        self._last = now


def main() -> None:
    chosen = _arguments()
    clock = Clock()
    if "INDUCTORY_BUILD" in os.environ:
        import inductory_client

        inductory_client.prefetch(device=chosen.device if chosen.device.startswith("cuda") else None)
    import torch
    import torch._dynamo
    import torch._inductor.compile_fx
    from inductory_client import load  # noqa: F401

    importlib.import_module("transformers.models.qwen3.modeling_qwen3")

    clock.lap("imports")
    device = torch.device(chosen.device)
    torch.zeros(1, device=device)
    _wait(device)
    clock.lap("cuda_init")
    with device:
        model = make_model(small=chosen.small, layers=chosen.layers)
    ids = token_ids(TOKENS, device)
    _wait(device)
    clock.lap("model")
    backend_s: list[float] = []
    with torch.no_grad():
        call = _callable(chosen, model, backend_s)
        with _profiled(chosen.profile):
            logits = call(input_ids=ids).logits
            _wait(device)
        clock.lap("start")
        steady = _median(lambda: call(input_ids=ids), device)
        other = call(input_ids=token_ids(OTHER_TOKENS, device)).logits
        eager = model(input_ids=token_ids(TOKENS, device, marked=False)).logits
        try:
            kernels = _kernel_ms(call, device) if chosen.kernels else {}
        except RuntimeError as error:  # the start was measured before, and stays so
            print(f"the code's time on the GPU isn't known: {error}", file=sys.stderr)
            kernels = {}
    clock.seconds["backend"] = sum(backend_s)
    clock.seconds["steady"] = steady
    print(json.dumps(_result(clock, logits, other, eager, kernels)))


def make_model(*, small: bool = False, layers: int | None = None) -> Any:
    """Return the model, with the same weights in every process, on the device that is set."""
    import torch
    from transformers import Qwen3Config, Qwen3ForCausalLM

    torch.manual_seed(0)
    shape = SHAPE | (SMALL if small else {}) | ({} if layers is None else {"num_hidden_layers": layers})
    dtype = torch.float32 if torch.get_default_device().type == "cpu" else torch.bfloat16
    model: Any = Qwen3ForCausalLM._from_config(Qwen3Config(**shape), dtype=dtype)  # type: ignore[no-untyped-call]
    return model.train(False).requires_grad_(False)


def _arguments() -> Any:
    parser = argparse.ArgumentParser()
    parser.add_argument("how", choices=("captured", "dispatch"))
    parser.add_argument("--mode", choices=OPTIONS, default="normal")
    parser.add_argument("--device", default="cuda:0")
    parser.add_argument("--small", action="store_true")
    parser.add_argument("--layers", type=int)
    parser.add_argument("--kernels", action="store_true", help="measure the code's time on the GPU, too")
    parser.add_argument("--profile", default="", help="write the first call's profile there")
    return parser.parse_args()


def token_ids(tokens: int, device: Any, *, marked: bool = True) -> Any:
    import torch

    ids = (torch.arange(tokens, device=device) * 37 % 500)[None]
    if marked:
        torch._dynamo.mark_dynamic(ids, 1, min=RANGE[0], max=RANGE[1])
    return ids


def _callable(chosen: Any, model: Any, backend_s: list[float]) -> Callable[..., Any]:
    import torch

    options = OPTIONS[chosen.mode]
    if chosen.how == "dispatch":
        import inductory_client

        return inductory_client.load(model, dynamic={"input_ids": {1: RANGE}}, options=options)
    inductory = torch._dynamo.lookup_backend("inductory")

    def timed(module: Any, inputs: Any, **given: Any) -> Any:
        began = time.perf_counter()
        call = inductory(module, inputs, **given)
        backend_s.append(time.perf_counter() - began)
        return call

    return torch.compile(model, backend=timed, options=options)


@contextlib.contextmanager
def _profiled(path: str) -> Iterator[None]:
    if not path:
        yield
        return
    import cProfile

    profile = cProfile.Profile()
    with profile:
        yield
    profile.dump_stats(path)


def _wait(device: Any) -> None:
    import torch

    if device.type == "cuda":
        torch.cuda.synchronize(device)


def _median(call: Callable[[], object], device: Any) -> float:
    """Return the median seconds of a call whose like came before."""
    spent = []
    for _ in range(REPEATS):
        _wait(device)
        began = time.perf_counter()
        call()
        _wait(device)
        spent.append(time.perf_counter() - began)
    return sorted(spent)[len(spent) // 2]


def _kernel_ms(call: Callable[..., Any], device: Any) -> dict[str, float]:
    """Return the milliseconds of a forward on the GPU, by tokens: of CUDA graphs, which leave out Python."""
    import torch

    found = {}
    with torch.cuda.device(device):
        for tokens in KERNEL_TOKENS:
            ids = token_ids(tokens, device)
            side = torch.cuda.Stream()  # type: ignore[no-untyped-call]
            with torch.cuda.stream(side):
                for _ in range(3):
                    call(input_ids=ids)
            torch.cuda.synchronize()
            graph = torch.cuda.CUDAGraph()
            with torch.cuda.graph(graph):
                call(input_ids=ids)
            spent = []
            for _ in range(REPEATS):
                first, last = (torch.cuda.Event(True) for _ in range(2))  # type: ignore[no-untyped-call]
                first.record()
                graph.replay()
                last.record()
                torch.cuda.synchronize()
                spent.append(first.elapsed_time(last))
            found[str(tokens)] = sorted(spent)[len(spent) // 2]
    return found


def _result(clock: Clock, logits: Any, other: Any, eager: Any, kernels: dict[str, float]) -> dict[str, Any]:
    import torch
    from inductory_client.graph.report import reports
    from torch._dynamo.utils import counters

    steps: dict[str, float] = {}
    for report in reports():
        for name, spent in report.seconds.items():
            steps[name] = steps.get(name, 0.0) + spent
    return {
        "seconds": clock.seconds,
        "steps_s": steps,
        "kernel_ms": kernels,
        "outcomes": [report.outcome for report in reports()],
        "captured": [report.captured for report in reports()],
        "reasons": [report.reason for report in reports() if report.reason],
        "pieces": sum(report.pieces for report in reports()),
        "unique": sum(report.unique for report in reports()),
        "bytes_moved": sum(report.bytes_moved for report in reports()),
        "bytes_raw": sum(report.bytes_raw for report in reports()),
        "builds": sorted({report.build for report in reports() if report.build}),
        "keys": sorted({key for report in reports() for key in report.keys}),
        "sha256": [sha256(logits), sha256(other)],
        "relative_error": float((logits.float() - eager.float()).norm() / eager.float().norm()),
        "finite": bool(torch.isfinite(logits).all()),
        "frames": dict(counters["frames"]),
        "compiles": int(counters["inductor"]["async_compile_cache_miss"]),
        "tunings": int(counters["inductor"]["benchmarking.InductorBenchmarker.benchmark"]),
        "gpu": torch.cuda.get_device_name(logits.device) if logits.is_cuda else "",
        "device": str(logits.device),
        "torch": str(torch.__version__),
        "cuda": str(torch.version.cuda),
    }


def sha256(tensor: Any) -> str:
    import torch

    return hashlib.sha256(tensor.contiguous().view(torch.uint8).cpu().numpy().tobytes()).hexdigest()


if __name__ == "__main__":
    main()
