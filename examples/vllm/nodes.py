"""Two nodes on one machine: a command in two fresh processes that share a store and a key, and no cache."""

from __future__ import annotations

import json
import os
import shutil
import sys
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

SMALL = {
    "architectures": ["Qwen3ForCausalLM"],
    "model_type": "qwen3",
    "hidden_size": 1024,
    "intermediate_size": 3072,
    "num_hidden_layers": 8,
    "num_attention_heads": 16,
    "num_key_value_heads": 8,
    "head_dim": 128,
    "vocab_size": 32000,
    "hidden_act": "silu",
    "rms_norm_eps": 1e-6,
    "rope_theta": 1000000,
    "max_position_embeddings": 4096,
    "tie_word_embeddings": True,
    "attention_bias": False,
    "torch_dtype": "bfloat16",
}
"""The `config.json` of a small Qwen3, for which weights are made up."""


@contextmanager
def nodes() -> Iterator[tuple[Path, Iterator[tuple[int, dict[str, str]]]]]:
    """Yield a folder for whatever the nodes share, and each node's number and environment in turn."""
    if "INDUCTORY_URL" not in os.environ:
        sys.exit("start a store (`inductory serve`), and set INDUCTORY_URL to its address")
    with tempfile.TemporaryDirectory(prefix="inductory-example-") as name:
        yield Path(name), _each(Path(name, "node"))


def small_model(folder: Path) -> Path:
    """Return the folder of a model that has a configuration and no weights."""
    model = folder / "model"
    model.mkdir()
    (model / "config.json").write_text(json.dumps(SMALL))
    return model


def _each(home: Path) -> Iterator[tuple[int, dict[str, str]]]:
    for number in (1, 2):
        # A fresh node is the same folder, emptied: vLLM hashes paths, and those of a fleet are alike.
        shutil.rmtree(home, ignore_errors=True)
        caches = {
            "VLLM_CACHE_ROOT": home / "vllm",
            "TRITON_HOME": home,
            "TMPDIR": home / "tmp",
            "INDUCTORY_CACHE_DIR": home / "inductory",
        }
        (home / "tmp").mkdir(parents=True)
        # Both have this machine's key and so trust each other; nodes of a fleet are told whom to trust.
        yield number, os.environ | {variable: str(folder) for variable, folder in caches.items()}
