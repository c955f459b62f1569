"""Triton's settings: the environment variables that decide what it makes of a kernel."""

from __future__ import annotations

import os

_DECIDES_NOTHING = frozenset(
    {"TRITON_CACHE_DIR", "TRITON_DUMP_DIR", "TRITON_HOME", "TRITON_DISABLE_LINE_INFO"}
)
"""Where kernels are found doesn't change them; and lines are left out whatever the last says."""

_UNCOUNTED = ("PTXAS_OPTIONS", "TRITON_INSTRUMENTATION_MODE", "TRITON_KERNEL_OVERRIDE",
              "TRITON_LIBDEVICE_PATH", "TRITON_MOCK_PTX_VERSION", "TRITON_SWAP_MIR")  # fmt: skip


def triton_settings() -> dict[str, str]:
    """Return the environment variables that decide what Triton makes of a kernel, as they are set."""
    try:
        from triton._C.libtriton import get_cache_invalidating_env_vars
    except ImportError:
        return {}
    counted = {f"triton.{name}": str(value) for name, value in get_cache_invalidating_env_vars().items()}
    found = counted | uncounted_settings()
    return {
        name: value for name, value in found.items() if name.removeprefix("triton.") not in _DECIDES_NOTHING
    }


def uncounted_settings() -> dict[str, str]:
    """Return those of them that Triton heeds and doesn't count among what decides, so that they aren't in its
    keys.
    """
    return {f"triton.{name}": os.environ[name] for name in _UNCOUNTED if name in os.environ}
