"""Reproducible mode: settings under which two builders make the same bytes for a GPU.

Nothing is chosen by timing it. As options they are part of every key,
so that both modes live side by side. On the CPU bytes are equal without them.
"""

from __future__ import annotations

from typing import Any

PATCHES: dict[str, Any] = {"deterministic": True, "triton.autotune_pointwise": False}
"""Settings of Inductor. The first takes the choice of reductions' configurations from the clock."""
