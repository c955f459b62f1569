"""The targets of Triton's entries: what decides them and isn't in Triton's keys.

The key of a group has Triton's own sources, the kernel's, the architecture, the version of ptxas, all options
and most settings. It needs no least driver either: whoever comes to the same key has the Triton and ptxas
that would make the same code. The key of a native module has its source and the machine's kind, and no more.
"""

from __future__ import annotations

import os

import triton
from triton.runtime.cache import triton_key

from inductory_client.contract.digest import digest_of
from inductory_client.contract.target import Target
from inductory_client.machine import machine_factors
from inductory_client.triton_settings import uncounted_settings

_COMPILER = ("CC", "CPATH", "C_INCLUDE_PATH", "LIBRARY_PATH", "TRITON_CUDACRT_PATH", "TRITON_CUDART_PATH")
"""What else decides a native module than its source: the compiler, and where that looks besides the folders
that Triton and Python bring."""


def group_target() -> Target:
    """Return the target of kernels. The version is there to be read."""
    return Target({"triton.version": str(triton.__version__), **uncounted_settings()})


def native_target() -> Target:
    """Return the target of native modules. Headers of Triton's are compiled in, so its key is a factor."""
    compiler = {f"cc.{name}": os.environ[name] for name in _COMPILER if name in os.environ}
    return Target(
        {
            "triton.version": str(triton.__version__),
            "triton.key": digest_of(triton_key().encode()),
            **machine_factors(),
            **compiler,
        }
    )
