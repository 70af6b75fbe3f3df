"""First stage of a low-rank Adam step: project the gradients of a chunk of equal matrices.

Every matrix is addressed through a table of int64 addresses (lists x count), so one launch serves
the whole chunk: grid (tiles, slices, count). LIST arguments name a row of that table.
"""

import triton
import triton.language as tl
from subkern.triton_kernels.adam_core import sk_moments, sk_step_size
from subkern.triton_kernels.prims import (
    sk_cast,
    sk_dot,
    sk_float,
    sk_halves,
    sk_multiple,
    sk_nonfinite,
    sk_pointer,
    sk_store_tile,
    sk_tile,
)

# The facts that matter are constants below; specialising on sizes would compile more kernels.
SIZES = ["count", "rows", "cols", "length", "slice_length", "ld", "x_end", "x_stride"]
SIZES += ["basis_stride"]


@triton.jit(do_not_specialize=SIZES)
def _lowrank_adam_project_kernel(
    table_ptr,  # int64 (lists, count)
    x_ptr,  # X where X_LIST < 0: (count, rows, x_stride)
    out_ptr,  # float32 (slices, count, *), or parameter dtype (count, *): see OUT_UNIT
    flags_ptr,  # int32 (count, slices * tiles)
    squares_ptr,  # float32 (slices, count, rows)
    counters_ptr,  # int32 (count,)
    scalars_ptr,  # float32 (count, 4)
    lr_ptr,
    count,
    rows,
    cols,
    length,
    slice_length,
    ld,
    x_end,  # length, or the padded length of a scratch operand whose pads are zero
    x_stride,
    basis_stride,
    lr,
    log_beta1,
    log_beta2,
    beta1,
    beta2,
    rest1,
    rest2,
    eps,
    weight_decay,
    scale,
    X_LIST: tl.constexpr,
    X_UNIT: tl.constexpr,
    X_VECTOR: tl.constexpr,
    BASIS_LIST: tl.constexpr,
    BASIS_UNIT: tl.constexpr,
    BASIS_VECTOR: tl.constexpr,
    DTYPE: tl.constexpr,
    OUT: tl.constexpr,  # "partials", "wide" (parameter dtype) or "direction" (moments fused)
    OUT_UNIT: tl.constexpr,  # R is (rows, ld) if 1, (cols, ld) if 0: its transpose is computed
    SQUARES: tl.constexpr,  # add up ||X_j||^2 for Fira
    M_LIST: tl.constexpr,
    V_LIST: tl.constexpr,
    STEP_LIST: tl.constexpr,
    M_VECTOR: tl.constexpr,
    LR_TENSOR: tl.constexpr,
    CORRECT_BIAS: tl.constexpr,
    POST_DECAY: tl.constexpr,
    BLOCK_M: tl.constexpr,
    BLOCK_N: tl.constexpr,
    BLOCK_K: tl.constexpr,
):
    """X P, rows x cols, as partial sums over slices of ``length``.

    rows are the canonical columns of the gradient and cols the rank: X is G when the basis is on
    the right, G^T when it is on the left, and T1 in the second projection of a full step.
    """
    tile, part, p = tl.program_id(0), tl.program_id(1), tl.program_id(2).to(tl.int64)
    tiles_m, tiles_n = (rows + BLOCK_M - 1) // BLOCK_M, (cols + BLOCK_N - 1) // BLOCK_N
    i, j = tile // tiles_n * BLOCK_M, tile % tiles_n * BLOCK_N  # neighbours share X
    if X_LIST < 0:
        x_base = x_ptr + p * rows * sk_multiple(x_stride, X_VECTOR)
    else:
        x_base = sk_pointer(tl.load(table_ptr + X_LIST * count + p), DTYPE, X_VECTOR)
    basis_base = sk_pointer(tl.load(table_ptr + BASIS_LIST * count + p), DTYPE, BASIS_VECTOR)

    acc = tl.full((BLOCK_M, BLOCK_N), 0, tl.float32)
    # Squares of the terms that one thread loads are added up at once: 8 neighbours of a row, or
    # those of a column that lie 16 apart. A sum per element would take too many registers.
    LANES: tl.constexpr = BLOCK_K // 8 if X_UNIT == 1 else 16
    if SQUARES:
        squares = tl.full((BLOCK_M, LANES), 0, tl.float32)
    begin = part * sk_multiple(slice_length, BLOCK_K)
    for k in range(begin, tl.minimum(begin + slice_length, length), BLOCK_K):
        # [BLOCK_M, BLOCK_K], [BLOCK_K, BLOCK_N]
        x = sk_tile(x_base, i, k, rows, x_end, x_stride, X_UNIT, X_VECTOR, BLOCK_M, BLOCK_K)
        basis = sk_tile(
            basis_base,
            k,
            j,
            length,
            cols,
            basis_stride,
            BASIS_UNIT,
            BASIS_VECTOR,
            BLOCK_K,
            BLOCK_N,
        )
        acc = sk_dot(x, basis, acc)
        if SQUARES:
            square = sk_float(x) * sk_float(x)
            if X_UNIT == 1:
                squares += tl.sum(tl.reshape(square, (BLOCK_M, LANES, 8)), 2)
            else:
                squares += tl.sum(tl.reshape(square, (BLOCK_M, BLOCK_K // 16, LANES)), 1)

    plane = part.to(tl.int64) * count + p
    if SQUARES:
        if j == 0:
            row = i + tl.arange(0, BLOCK_M)
            tl.store(squares_ptr + plane * rows + row, tl.sum(squares, 1), mask=row < rows)

    # Pads are written too (as zeros): stores stay aligned whatever the width.
    ld = sk_multiple(ld, 8)
    if OUT_UNIT == 1:
        out, row_end, col_end = out_ptr + plane * rows * ld, rows, ld
        width = cols
    else:
        out, row_end, col_end = out_ptr + plane * cols * ld, ld, cols
        width = rows
    if OUT == "wide":
        values = sk_cast(acc, DTYPE)
        sk_store_tile(out, values, i, j, row_end, col_end, ld, OUT_UNIT, 8, BLOCK_M, BLOCK_N)
    elif OUT == "partials":
        flags = flags_ptr + (p * tl.num_programs(1) + part) * tiles_m * tiles_n
        tl.store(flags + tile, sk_nonfinite(acc))
        # In halves: in memory order the whole tile takes more registers than the product did.
        HALF: tl.constexpr = BLOCK_N // 2
        lower, upper = sk_halves(acc, BLOCK_M, BLOCK_N)
        sk_store_tile(out, lower, i, j, row_end, col_end, ld, OUT_UNIT, 8, BLOCK_M, HALF)
        sk_store_tile(out, upper, i, j + HALF, row_end, col_end, ld, OUT_UNIT, 8, BLOCK_M, HALF)
        if tile == 0:
            if part == 0:
                tl.store(counters_ptr + p, 0)
    else:
        step_ptr = sk_pointer(tl.load(table_ptr + STEP_LIST * count + p), tl.float32, 1)
        eta, factor = sk_step_size(
            step_ptr,
            lr,
            lr_ptr,
            log_beta1,
            log_beta2,
            weight_decay,
            LR_TENSOR,
            CORRECT_BIAS,
            POST_DECAY,
        )
        m_base = sk_pointer(tl.load(table_ptr + M_LIST * count + p), tl.float32, M_VECTOR)
        v_base = sk_pointer(tl.load(table_ptr + V_LIST * count + p), tl.float32, M_VECTOR)
        m = sk_tile(m_base, i, j, rows, cols, width, OUT_UNIT, M_VECTOR, BLOCK_M, BLOCK_N)
        v = sk_tile(v_base, i, j, rows, cols, width, OUT_UNIT, M_VECTOR, BLOCK_M, BLOCK_N)
        m, v, n = sk_moments(acc, m, v, beta1, beta2, rest1, rest2, eps)
        sk_store_tile(m_base, m, i, j, rows, cols, width, OUT_UNIT, M_VECTOR, BLOCK_M, BLOCK_N)
        sk_store_tile(v_base, v, i, j, rows, cols, width, OUT_UNIT, M_VECTOR, BLOCK_M, BLOCK_N)
        values = sk_cast(-(eta * scale) * n, DTYPE)
        sk_store_tile(out, values, i, j, row_end, col_end, ld, OUT_UNIT, 8, BLOCK_M, BLOCK_N)
        if tile == 0:
            tl.store(scalars_ptr + 4 * p, eta)
            tl.store(scalars_ptr + 4 * p + 1, factor)
            tl.store(scalars_ptr + 4 * p + 3, 0.0)
