"""The model that is measured: transformers' Qwen3 from a config, 12 layers, dynamic length."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import torch
import torch._dynamo
import torch._inductor.compile_fx  # what a start imports anyway is imported before anything is measured
import torch.fx
from transformers import Qwen3Config, Qwen3ForCausalLM

Backend = Callable[[torch.fx.GraphModule, Sequence[Any]], Callable[..., Any]]

CONFIG: dict[str, Any] = {
    "hidden_size": 128,
    "intermediate_size": 256,
    "num_hidden_layers": 12,
    "num_attention_heads": 4,
    "num_key_value_heads": 2,
    "head_dim": 32,
    "vocab_size": 500,
    "use_cache": False,
}
TOKENS = 16


def make() -> tuple[torch.nn.Module, torch.Tensor]:
    """Return the model and its input, the same in every process."""
    torch.manual_seed(0)
    model = Qwen3ForCausalLM(Qwen3Config(**CONFIG)).train(False)
    ids = torch.arange(TOKENS)[None]
    torch._dynamo.mark_dynamic(ids, 1)
    return model, ids


def start(backend: Backend) -> torch.Tensor:
    """Compile the model with `backend`, call it once, and return the logits."""
    model, ids = make()
    with torch.no_grad():
        logits: torch.Tensor = torch.compile(model, backend=backend)(input_ids=ids).logits
    return logits
