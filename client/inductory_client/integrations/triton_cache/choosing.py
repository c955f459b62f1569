"""Which cache manager Triton uses, where a program chooses it rather than the environment."""

from __future__ import annotations

import os

from triton import knobs

from .manager import InductoryCacheManager

VARIABLE = "TRITON_CACHE_MANAGER"


def install() -> bool:
    """Have Triton use ours from now on, here and in processes that are started from here; whether it does.

    It is the variable that is set, as processes which compile for this one read it, too. A manager that
    somebody else chose stays. May be repeated.
    """
    try:
        chosen = knobs.cache.manager_class
    except (ImportError, AttributeError, RuntimeError):
        return False  # the variable names what isn't there: Triton says so itself
    if chosen is None:
        os.environ[VARIABLE] = f"{__package__}:{InductoryCacheManager.__name__}"
        return True
    return isinstance(chosen, type) and issubclass(chosen, InductoryCacheManager)
