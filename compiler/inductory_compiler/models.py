"""Models to compile ahead: from a transformers configuration, or from a function of the caller's."""

from __future__ import annotations

import importlib
import os
import sys
from pathlib import Path
from typing import Any

import torch
from inductory_client.contract.errors import CompilerAbsent, Malformed


def load_model(spec: str, dtype: str) -> tuple[torch.nn.Module, dict[str, Any] | None]:
    """Return the model that `spec` names, ready for inference, and example inputs where it brings its own.

    `spec` is a transformers config.json or its folder (weights are random: code doesn't depend on them), or
    `module:function`, a function that returns a model, or a model and its keyword arguments. Raises
    Malformed.
    """
    path = Path(spec)
    if path.exists():
        return _from_config(path, dtype), None
    module_name, _, function_name = spec.partition(":")
    if not function_name:
        raise Malformed(f"{spec!r} is neither a config.json, nor a folder with one, nor module:function")
    return _from_function(module_name, function_name, dtype)


def _from_config(path: Path, dtype: str) -> torch.nn.Module:
    folder = path if path.is_dir() else path.parent
    if not (folder / "config.json").is_file():
        raise Malformed(f"{folder} holds no config.json")
    os.environ.setdefault("HF_HUB_OFFLINE", "1")
    try:
        from transformers import AutoConfig, AutoModelForCausalLM
    except ImportError as error:
        raise CompilerAbsent(
            "a configuration is transformers' to read; install it (pip install transformers), "
            "or name a function of yours as module:function"
        ) from error

    config = AutoConfig.from_pretrained(folder, local_files_only=True)
    model = AutoModelForCausalLM.from_config(  # type: ignore[no-untyped-call]
        config, dtype=getattr(torch, dtype)
    )
    return _ready(model)


def _from_function(module_name: str, function_name: str, dtype: str) -> tuple[torch.nn.Module, Any]:
    sys.path.insert(0, os.getcwd())  # as `python -m` has it
    try:
        function = getattr(importlib.import_module(module_name), function_name)
    except (ImportError, AttributeError) as error:
        raise Malformed(f"{module_name}:{function_name} can't be imported: {error}") from error
    finally:
        sys.path.remove(os.getcwd())
    try:
        made = function()
    except Exception as error:
        raise Malformed(f"{module_name}:{function_name} raised {type(error).__name__}: {error}") from error
    model, arguments = made if isinstance(made, tuple) else (made, None)
    if not isinstance(model, torch.nn.Module):
        raise Malformed(f"{module_name}:{function_name} returned a {type(model).__name__}, not a module")
    return _ready(model.to(getattr(torch, dtype))), arguments


def _ready(model: Any) -> torch.nn.Module:
    return model.train(False).requires_grad_(False)  # type: ignore[no-any-return]
