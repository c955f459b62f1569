"""Stock Inductor: where a graph goes that isn't shared. Works in any torch that has Inductor at all.

Apart from `torch_private`, because it is what remains where a private name of that has moved.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any


def stock_compile(module: Any, inputs: Sequence[Any], patches: dict[str, Any]) -> Any:
    """Compile a captured graph as `backend="inductor"` does; `patches` are settings of Inductor."""
    from torch._inductor.compile_fx import compile_fx

    return compile_fx(module, list(inputs), config_patches=patches or None)


def mode_patches(mode: str | None) -> dict[str, Any]:
    """Return the settings of Inductor that torch.compile's `mode` stands for."""
    if mode is None or mode == "default":
        return {}
    from torch._inductor import list_mode_options

    return dict(list_mode_options(mode))
