"""Tiny models and functions to capture, the same in every process: weights come from a fixed seed."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch
from torch import nn
from torch.nn.functional import scaled_dot_product_attention, silu

HIDDEN, HEADS, VOCABULARY = 64, 4, 50

Case = tuple[Callable[..., Any], tuple[Any, ...]]
"""What is compiled, and its inputs."""


class Layer(nn.Module):
    """Attention and what is around it."""

    def __init__(self, hidden: int = HIDDEN) -> None:
        super().__init__()
        self.norm = nn.LayerNorm(hidden)
        self.qkv = nn.Linear(hidden, 3 * hidden)
        self.out = nn.Linear(hidden, hidden)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        heads = self.qkv(self.norm(x)).view(x.shape[0], x.shape[1], 3, HEADS, -1)
        query, key, value = heads.permute(2, 0, 3, 1, 4)
        attended = scaled_dot_product_attention(query, key, value, is_causal=True)
        return x + silu(self.out(attended.transpose(1, 2).reshape(x.shape)))


class Decoder(nn.Module):
    """Token ids in, hidden states out: one more piece than layers, of which three are different."""

    def __init__(self, layers: int = 2, hidden: int = HIDDEN, layer: type[nn.Module] = Layer) -> None:
        super().__init__()
        self.embed = nn.Embedding(VOCABULARY, hidden)
        self.layers = nn.ModuleList(layer(hidden) for _ in range(layers))
        self.norm = nn.LayerNorm(hidden)

    def forward(self, ids: torch.Tensor) -> torch.Tensor:
        x = self.embed(ids)
        for layer in self.layers:
            x = layer(x)
        return self.norm(x)


def decoder(layers: int = 2, **changes: Any) -> Decoder:
    torch.manual_seed(0)
    return Decoder(layers, **changes).eval()


def token_ids(length: int, batch: int = 2, dynamic: bool = True) -> torch.Tensor:
    ids = (torch.arange(batch * length) % VOCABULARY).view(batch, length)
    if dynamic:
        torch._dynamo.mark_dynamic(ids, 1)
    return ids


def values(*shape: int) -> torch.Tensor:
    generator = torch.Generator().manual_seed(1)
    return torch.randn(*shape, generator=generator)


def heads() -> torch.Tensor:
    """What attention takes: batch, heads, tokens, width."""
    return values(2, 4, 16, 16)


def attend(x: torch.Tensor) -> torch.Tensor:
    return scaled_dot_product_attention(x, x, x)
