"""What a version of torch can't do itself, by tests that meet it: each must fail there."""

from __future__ import annotations

import pytest
import torch

_IS_2_11 = torch.__version__.startswith("2.11.")

decodes = pytest.mark.xfail(
    _IS_2_11, strict=True, reason="torch 2.11 writes C++ for a piece of decoding that no compiler takes"
)
runs_flex_attention = pytest.mark.xfail(
    _IS_2_11, strict=True, reason="torch 2.11 refuses FlexAttention of one buffer on a CPU"
)
