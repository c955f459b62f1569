"""The machine and interpreter, as factors of what a C or C++ compiler makes for them."""

from __future__ import annotations

import platform
import sys


def machine_factors() -> dict[str, str]:
    """Return what decides whether a shared library for Python can be loaded."""
    return {
        "python.abi": sys.implementation.cache_tag or sys.implementation.name,
        "machine": f"{sys.platform}-{platform.machine()}",
        "libc": "-".join(platform.libc_ver()),
    }
