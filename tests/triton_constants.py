"""What kernels of `triton_kernels` take from another module."""

from __future__ import annotations

import os

import triton.language as tl

FACTOR = tl.constexpr(int(os.environ.get("KERNELS_FACTOR", "3")))
