"""Hooks of modules, and parts of modules: dictionaries that torch keeps to itself."""

# mypy: disable-error-code="attr-defined,no-untyped-call,method-assign,misc"

from __future__ import annotations

from typing import Any

import torch

_OF_MODULE = ("_forward_hooks", "_forward_pre_hooks", "_backward_hooks", "_backward_pre_hooks")
_OF_ALL = tuple(f"_global{name}" for name in _OF_MODULE)


def hooks_of(module: torch.nn.Module) -> list[dict[Any, Any]]:
    """Return the dictionaries of the hooks that run when `module` is called."""
    return [getattr(module, name) for name in _OF_MODULE]


def global_hooks() -> list[dict[Any, Any]]:
    """Return the dictionaries of the hooks that run when any module is called."""
    return [getattr(torch.nn.modules.module, name) for name in _OF_ALL]


def parts_of(module: torch.nn.Module) -> dict[str, Any]:
    """Return the dictionary of the modules that `module` holds."""
    found: dict[str, Any] = module._modules
    return found
