"""Scenes of `inductory_client.load` on a real transformers model, played in processes of their own."""

from __future__ import annotations

import copy
import os
from collections.abc import Callable
from typing import Any

import inductory_client
import torch
from torch_cases import fingerprint
from torch_generation import tiny_qwen, tokens


def _model(**config: Any) -> Any:
    """A model whose weights are this process's own: a dispatch must not hold them."""
    model = tiny_qwen(**config)
    torch.manual_seed(int(os.environ.get("WEIGHTS_SEED", "0")))
    with torch.no_grad():
        for weight in model.parameters():
            weight.copy_(torch.randn(weight.shape) * 0.05)
    return model


def _ids(length: int, batch: int = 1) -> torch.Tensor:
    return (torch.arange(batch * length) % 100).view(batch, length)


def forward(**config: Any) -> dict[str, Any]:
    """Prefill by keyword, of several lengths, with and without a mask; a ModelOutput comes back."""
    model = _model(**config)
    loaded = inductory_client.load(
        model, dynamic={"input_ids": {1: (2, 4096)}, "attention_mask": {1: (2, 4096)}}
    )
    found, close = [], []
    with torch.no_grad():
        for length in (9, 21):
            keywords = {"input_ids": _ids(length), "use_cache": False}
            masked = keywords | {"attention_mask": (_ids(length) % 7 > 0).long()}
            for given in (keywords, masked):
                output = loaded(**given)
                expected = model(**given)
                found.append(output.logits)
                close.append(
                    type(output) is type(expected)
                    and torch.allclose(output.logits, expected.logits, rtol=1e-3, atol=1e-4)
                )
    return {"fingerprint": fingerprint(found), "close": all(close)}


def marked() -> dict[str, Any]:
    """Lengths marked by the caller, also where the dispatch is loaded."""
    model = _model()
    loaded = inductory_client.load(model)
    found = []
    with torch.no_grad():
        for length in (12, 30):
            ids = _ids(length)
            torch._dynamo.mark_dynamic(ids, 1)
            found.append(loaded(input_ids=ids, use_cache=False).logits)
        expected = model(input_ids=_ids(30), use_cache=False).logits
    return {"close": torch.allclose(found[-1], expected, rtol=1e-3, atol=1e-4)}


def _generated(**arguments: Any) -> dict[str, Any]:
    model = _model()
    eager = tokens(copy.deepcopy(model), **arguments)
    model.forward = inductory_client.load(model)
    return {"eager": eager, "tokens": tokens(model, **arguments), "again": tokens(model, **arguments)}


def other_config(name: str) -> dict[str, Any]:
    changes: dict[str, dict[str, Any]] = {
        "activation": {"hidden_act": "relu"},
        "eps": {"rms_norm_eps": 0.5},
        "layers": {"num_hidden_layers": 3},
    }
    return forward(**changes[name])


SCENES: dict[str, Callable[[], dict[str, Any]]] = {
    "forward": forward,
    "marked": marked,
    "dynamic_cache": _generated,
    "static_cache": lambda: _generated(cache_implementation="static"),
    "activation": lambda: other_config("activation"),
    "eps": lambda: other_config("eps"),
    "layers": lambda: other_config("layers"),
}
