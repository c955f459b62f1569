"""The demonstration's model: a real one that nobody here wrote, small enough for two cores."""

from __future__ import annotations

import torch
from transformers import Qwen3Config, Qwen3ForCausalLM

LAYERS = 12
PROMPT_TOKENS = 16


def make_model() -> Qwen3ForCausalLM:
    """Return Hugging Face's Qwen3 with random weights, the same ones in every process."""
    torch.manual_seed(0)
    config = Qwen3Config(
        hidden_size=128,
        intermediate_size=256,
        num_hidden_layers=LAYERS,
        num_attention_heads=4,
        num_key_value_heads=2,
        head_dim=32,
        vocab_size=1000,
        use_cache=False,
    )
    model: Qwen3ForCausalLM = Qwen3ForCausalLM(config).train(False)
    return model


def prompt(tokens: int) -> torch.Tensor:
    """Return token ids of shape (1, tokens)."""
    return torch.arange(tokens)[None] * 7 % 1000
