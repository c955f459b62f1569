"""Small kernels, for tests: what some of them compute depends on the environment, unseen by Triton's key."""

# mypy: ignore-errors

from __future__ import annotations

import os

import triton
import triton.language as tl
import triton_constants

KIND = getattr(tl, os.environ.get("KERNELS_KIND", "float32"))
SHIFT = int(os.environ.get("KERNELS_SHIFT", "1"))
ROUND = getattr(tl, os.environ.get("KERNELS_ROUND", "floor"))
BOUND = tl.constexpr(7)


class Opaque:
    """What has no text that says all of it."""

    name = "opaque"


OPAQUE = Opaque()


@triton.jit
def plain(source, target):
    tl.store(target, tl.load(source) * 2 + BOUND)


@triton.jit
def typed(source, target):
    tl.store(target, tl.load(source).to(KIND).to(tl.float32))


@triton.jit
def scaled(source, target):
    tl.store(target, tl.load(source) * triton_constants.FACTOR)


@triton.jit
def rounded(source, target):
    tl.store(target, ROUND(tl.load(source)))


@triton.jit
def shift(value, by: tl.constexpr = SHIFT):
    return value + by


@triton.jit
def shifted(source, target):
    tl.store(target, shift(tl.load(source)))


@triton.jit
def unclear(source, target, flag: tl.constexpr):
    if flag:
        tl.store(target, OPAQUE)
    tl.store(target, tl.load(source))
