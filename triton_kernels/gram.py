"""Symmetric products X^T X of a batch: tiles on and below the diagonal, each stored twice."""

import triton
import triton.language as tl
from subkern.triton_kernels.prims import sk_cast, sk_dot, sk_multiple, sk_store_tile, sk_tile

SIZES = ["side", "depth", "x_stride", "x_step", "c_stride", "c_step"]


@triton.jit(do_not_specialize=SIZES)
def _gram_symmetric_kernel(
    x_ptr,  # (batch, depth, side) with strides (x_step, by UNIT)
    c_ptr,  # (batch, side, side): added as gamma C
    out_ptr,  # (batch, side, side) contiguous
    side,
    depth,
    x_stride,
    x_step,
    c_stride,
    c_step,
    alpha,
    gamma,
    delta,
    UNIT: tl.constexpr,  # dimension of X with stride 1: 0 depth, 1 side
    VECTOR: tl.constexpr,  # elements that loads of X may take at once
    OUT_VECTOR: tl.constexpr,  # and stores of the result
    ADD: tl.constexpr,
    OUT: tl.constexpr,
    BLOCK: tl.constexpr,
    BLOCK_K: tl.constexpr,
):
    """Out = alpha X^T X + gamma C + delta I, C symmetric; the upper half mirrors the lower one."""
    tile, p = tl.program_id(0), tl.program_id(1).to(tl.int64)
    # Row of the triangle that a running number falls into: tiles 0 | 1 2 | 3 4 5 | ...
    row = ((tl.sqrt(8.0 * tile.to(tl.float32) + 1.0) - 1.0) * 0.5).to(tl.int32)
    row = tl.where(row * (row + 1) // 2 > tile, row - 1, row)
    row = tl.where((row + 1) * (row + 2) // 2 <= tile, row + 1, row)
    i, j = row * BLOCK, (tile - row * (row + 1) // 2) * BLOCK
    x = x_ptr + p * sk_multiple(x_step, VECTOR)
    acc = tl.full((BLOCK, BLOCK), 0, tl.float32)
    FLIPPED: tl.constexpr = 1 - UNIT
    for k in range(0, depth, BLOCK_K):
        # [BLOCK, BLOCK_K], [BLOCK_K, BLOCK]
        left = sk_tile(x, i, k, side, depth, x_stride, FLIPPED, VECTOR, BLOCK, BLOCK_K)
        right = sk_tile(x, k, j, depth, side, x_stride, UNIT, VECTOR, BLOCK_K, BLOCK)
        acc = sk_dot(left, right, acc)
    acc = acc * alpha
    if ADD:
        c = c_ptr + p * sk_multiple(c_step, OUT_VECTOR)
        acc += gamma * sk_tile(c, i, j, side, side, c_stride, 1, OUT_VECTOR, BLOCK, BLOCK)
    at, to = i + tl.arange(0, BLOCK), j + tl.arange(0, BLOCK)
    acc = tl.where(at[:, None] == to[None, :], acc + delta, acc)
    if i == j:  # both triangles of the tile from the lower one
        lower = tl.where(at[:, None] >= to[None, :], acc, 0.0)
        strict = tl.where(at[:, None] > to[None, :], acc, 0.0)
        acc = lower + tl.trans(strict)
    values = sk_cast(acc, OUT)
    out = out_ptr + p * side * sk_multiple(side, OUT_VECTOR)
    sk_store_tile(out, values, i, j, side, side, side, 1, OUT_VECTOR, BLOCK, BLOCK)
    if i != j:
        flipped = tl.trans(values)
        sk_store_tile(out, flipped, j, i, side, side, side, 1, OUT_VECTOR, BLOCK, BLOCK)
