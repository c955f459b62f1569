"""Greedy generation by a tiny real model: what users call is `generate()`."""

from __future__ import annotations

from typing import Any

import torch

STEPS = 10
EOS_NEVER = -1


def tiny_qwen(**changes: Any) -> Any:
    from transformers import Qwen3Config, Qwen3ForCausalLM

    torch.manual_seed(0)
    sizes = {
        "hidden_size": 64,
        "intermediate_size": 96,
        "num_hidden_layers": 2,
        "num_attention_heads": 4,
        "num_key_value_heads": 2,
        "head_dim": 16,
        "vocab_size": 120,
        "max_position_embeddings": 256,
        "eos_token_id": EOS_NEVER,
        "pad_token_id": 0,
    }
    return Qwen3ForCausalLM(Qwen3Config(**(sizes | changes))).eval()


def tokens(model: Any, **arguments: Any) -> list[int]:
    prompt = torch.arange(5, 12)[None]
    found = model.generate(
        prompt,
        attention_mask=(prompt > 6).long(),  # as if the first two were padding
        max_new_tokens=STEPS,
        do_sample=False,
        disable_compile=True,  # transformers would compile by itself, with its own backend
        **arguments,
    )
    return list(found[0, prompt.shape[1] :].tolist())


def generated(how: str) -> dict[str, Any]:
    """Generate eagerly and compiled: `dynamic_cache`, `static_cache`, or `whole_model` (which compiles
    nothing).
    """
    model = tiny_qwen()
    arguments = {"cache_implementation": "static"} if how == "static_cache" else {}
    eager = tokens(model, **arguments)
    torch._dynamo.reset()
    if how == "whole_model":
        found = tokens(torch.compile(model, backend="inductory"))
    else:
        model.forward = torch.compile(model.forward, backend="inductory")
        found = tokens(model, **arguments)
    return {"eager": eager, "tokens": found}
