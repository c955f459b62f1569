"""Twelve kernels such as models have: four, each for three sizes."""

# mypy: ignore-errors

from __future__ import annotations

import triton
import triton.language as tl


@triton.jit
def product(a, b, c, rows, columns, inner, block: tl.constexpr, depth: tl.constexpr):
    row = tl.program_id(0) * block + tl.arange(0, block)
    column = tl.program_id(1) * block + tl.arange(0, block)
    step = tl.arange(0, depth)
    total = tl.zeros((block, block), dtype=tl.float32)
    for start in range(0, inner, depth):
        left = tl.load(a + row[:, None] * inner + start + step[None, :], mask=row[:, None] < rows, other=0.0)
        right = tl.load(b + (start + step[:, None]) * columns + column[None, :])
        total += tl.dot(left, right)
    tl.store(c + row[:, None] * columns + column[None, :], total.to(tl.bfloat16), mask=row[:, None] < rows)


@triton.jit
def softmax(source, target, columns, block: tl.constexpr):
    row, column = tl.program_id(0), tl.arange(0, block)
    value = tl.load(source + row * columns + column, mask=column < columns, other=float("-inf"))
    raised = tl.exp(value.to(tl.float32) - tl.max(value.to(tl.float32), 0))
    tl.store(target + row * columns + column, (raised / tl.sum(raised, 0)).to(tl.bfloat16), column < columns)


@triton.jit
def norm(source, weight, target, columns, epsilon, block: tl.constexpr):
    row, column = tl.program_id(0), tl.arange(0, block)
    value = tl.load(source + row * columns + column, mask=column < columns, other=0.0).to(tl.float32)
    scale = tl.rsqrt(tl.sum(value * value, 0) / columns + epsilon)
    by = tl.load(weight + column, mask=column < columns)
    tl.store(target + row * columns + column, (value * scale * by).to(tl.bfloat16), column < columns)


@triton.jit
def attention(query, key, value, target, length, scale, block: tl.constexpr, width: tl.constexpr):
    row = tl.program_id(0) * block + tl.arange(0, block)
    lane = tl.arange(0, width)
    asked = tl.load(query + row[:, None] * width + lane[None, :])
    most = tl.full((block,), float("-inf"), dtype=tl.float32)
    weight = tl.zeros((block,), dtype=tl.float32)
    total = tl.zeros((block, width), dtype=tl.float32)
    for start in range(0, length, block):
        place = start + tl.arange(0, block)
        score = tl.dot(asked, tl.trans(tl.load(key + place[:, None] * width + lane[None, :]))) * scale
        score = tl.where(place[None, :] <= row[:, None], score, float("-inf"))
        now = tl.maximum(most, tl.max(score, 1))
        raised = tl.exp(score - now[:, None])
        shrink = tl.exp(most - now)
        weight = weight * shrink + tl.sum(raised, 1)
        total = total * shrink[:, None]
        total += tl.dot(raised.to(tl.bfloat16), tl.load(value + place[:, None] * width + lane[None, :]))
        most = now
    tl.store(target + row[:, None] * width + lane[None, :], (total / weight[:, None]).to(tl.bfloat16))


_HALF = "*bf16"
KERNELS = [
    *((product, (_HALF,) * 3 + ("i32",) * 3, {"block": block, "depth": 32}) for block in (32, 64, 128)),
    *((softmax, (_HALF,) * 2 + ("i32",), {"block": block}) for block in (1024, 2048, 4096)),
    *((norm, (_HALF,) * 3 + ("i32", "fp32"), {"block": block}) for block in (1024, 2048, 4096)),
    *((attention, (_HALF,) * 4 + ("i32", "fp32"), {"block": 64, "width": width}) for width in (32, 64, 128)),
]
"""Function, types of its arguments, constants."""
