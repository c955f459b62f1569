"""Watching a module's hooks and parts: Dynamo doesn't guard on the first, and on the second only by type."""

from __future__ import annotations

from typing import Any

import torch

from inductory_client.graph import torch_private

HookState = tuple[tuple[int, tuple[Any, ...]], ...]
"""Which dictionaries hold hooks, by number, and which they hold; empty where none does."""


class ModuleWatch:
    """Looks at every module of a model in some ten microseconds. Safe for threads."""

    def __init__(self, model: torch.nn.Module) -> None:
        self._model = model
        self._parts: list[dict[str, Any]] = []
        self._were: list[dict[str, Any]] = []
        self._hooks: list[dict[Any, Any]] = []
        self._look()

    def hooks(self) -> HookState:
        """Return which hooks there are now, but for the model's own, which run around its forward."""
        if self._parts != self._were:
            self._look()  # a part was put in another's place, with hooks of its own
        if not any(self._hooks):
            return ()
        return tuple((place, tuple(held.items())) for place, held in enumerate(self._hooks) if held)

    def _look(self) -> None:
        modules = list(self._model.modules())
        parts = [torch_private.parts_of(module) for module in modules]
        # Each dictionary of parts is compared with what it was: module by module, by identity.
        were = [dict(held) for held in parts]
        hooks = [held for module in modules[1:] for held in torch_private.hooks_of(module)]
        # Hooks first: another thread that finds the parts as they were must find their hooks, too.
        self._hooks = hooks + torch_private.global_hooks()
        self._parts, self._were = parts, were
