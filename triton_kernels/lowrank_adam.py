"""The two products of a low-rank Adam step, for a chunk of equal matrices.

Every matrix is addressed through a table of int64 addresses (lists x count), so one launch serves
the whole chunk: grid (tiles, slices, count). LIST arguments name a row of that table.
"""

import triton
import triton.language as tl
from subkern.triton_kernels.adam_core import sk_count, sk_moments, sk_step_size
from subkern.triton_kernels.prims import (
    sk_cast,
    sk_dot,
    sk_float,
    sk_inline,
    sk_multiple,
    sk_nonfinite,
    sk_offsets,
    sk_pointer,
)


@sk_inline
def sk_tile(
    ptr,
    rows,
    cols,
    row_end,
    col_end,
    stride,
    UNIT: tl.constexpr,
    VECTOR: tl.constexpr,
):
    """[rows, cols] of a matrix, zero outside; along UNIT everything is a multiple of VECTOR."""
    if UNIT == 1:
        inside = (rows < row_end)[:, None] & (cols < sk_multiple(col_end, VECTOR))[None, :]
    else:
        inside = (rows < sk_multiple(row_end, VECTOR))[:, None] & (cols < col_end)[None, :]
    offsets = sk_offsets(rows, cols, sk_multiple(stride, VECTOR), UNIT)
    return tl.load(ptr + offsets, mask=inside, other=0.0)


# The facts that matter are constants below; specialising on sizes would compile more kernels.
_PROJECT_SIZES = [
    "count",
    "rows",
    "cols",
    "length",
    "slice_length",
    "ld",
    "left_end",
    "left_stride",
    "right_stride",
]
_UPDATE_SIZES = [
    "count",
    "rows",
    "cols",
    "rank",
    "columns",
    "ld",
    "out_ld",
    "basis_stride",
    "w_stride",
    "g_stride",
]


@triton.jit(do_not_specialize=_PROJECT_SIZES)
def _lowrank_adam_project_kernel(
    table_ptr,  # int64 (lists, count)
    left_ptr,  # the left operand where LEFT_LIST < 0: (count, rows, left_stride)
    out_ptr,  # float32 (slices, count, rows, ld), or parameter dtype (count, rows, ld)
    flags_ptr,  # int32 (count, slices * tiles)
    squares_ptr,  # float32 (slices, count, canonical columns)
    counters_ptr,  # int32 (count,)
    scalars_ptr,  # float32 (count, 4)
    lr_ptr,
    count,
    rows,
    cols,
    length,
    slice_length,
    ld,
    left_end,  # length, or the padded length of a scratch operand whose pads are zero
    left_stride,
    right_stride,
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
    LEFT_LIST: tl.constexpr,
    LEFT_UNIT: tl.constexpr,
    LEFT_VECTOR: tl.constexpr,
    RIGHT_LIST: tl.constexpr,
    RIGHT_UNIT: tl.constexpr,
    RIGHT_VECTOR: tl.constexpr,
    DTYPE: tl.constexpr,
    OUT: tl.constexpr,  # "partials", "wide" (parameter dtype) or "direction" (moments fused)
    SQUARES: tl.constexpr,  # -1, or the operand that is the gradient: 0 left, 1 right
    COLS_FIRST: tl.constexpr,  # neighbouring programs share rows of the gradient
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
    """R = left right, rows x cols, as partial sums over slices of ``length``.

    On the left side the left operand is P^T, on the right side it is the gradient, in the second
    projection of a full step it is T1.
    """
    tile, part, p = tl.program_id(0), tl.program_id(1), tl.program_id(2).to(tl.int64)
    tiles_m, tiles_n = (rows + BLOCK_M - 1) // BLOCK_M, (cols + BLOCK_N - 1) // BLOCK_N
    if COLS_FIRST:
        tile_m, tile_n = tile // tiles_n, tile % tiles_n
    else:
        tile_m, tile_n = tile % tiles_m, tile // tiles_m
    if LEFT_LIST < 0:
        left_base = left_ptr + p * rows * sk_multiple(left_stride, LEFT_VECTOR)
    else:
        left_base = sk_pointer(tl.load(table_ptr + LEFT_LIST * count + p), DTYPE, LEFT_VECTOR)
    right_base = sk_pointer(tl.load(table_ptr + RIGHT_LIST * count + p), DTYPE, RIGHT_VECTOR)

    i = tile_m * BLOCK_M + tl.arange(0, BLOCK_M)
    j = tile_n * BLOCK_N + tl.arange(0, BLOCK_N)
    acc = tl.full((BLOCK_M, BLOCK_N), 0, tl.float32)
    if SQUARES == 0:
        squares = tl.full((BLOCK_M, BLOCK_K), 0, tl.float32)
    if SQUARES == 1:
        squares = tl.full((BLOCK_K, BLOCK_N), 0, tl.float32)
    begin = part * sk_multiple(slice_length, BLOCK_K)
    for start in range(begin, tl.minimum(begin + slice_length, length), BLOCK_K):
        k = start + tl.arange(0, BLOCK_K)
        # [BLOCK_M, BLOCK_K], [BLOCK_K, BLOCK_N]
        a = sk_tile(left_base, i, k, rows, left_end, left_stride, LEFT_UNIT, LEFT_VECTOR)
        b = sk_tile(right_base, k, j, length, cols, right_stride, RIGHT_UNIT, RIGHT_VECTOR)
        acc = sk_dot(a, b, acc)
        if SQUARES == 0:
            x = sk_float(a)
            squares += x * x
        if SQUARES == 1:
            x = sk_float(b)
            squares += x * x

    # Pads are written too (as zeros): stores stay aligned whatever the width.
    ld = sk_multiple(ld, 8)
    matrix = ((part.to(tl.int64) * count + p) * rows) * ld
    offsets = matrix + i[:, None].to(tl.int64) * ld + j[None, :]  # [BLOCK_M, BLOCK_N]
    inside = (i < rows)[:, None] & (j < ld)[None, :]
    if SQUARES == 0:
        if tile_n == 0:
            base = squares_ptr + (part.to(tl.int64) * count + p) * rows
            tl.store(base + i, tl.sum(squares, 1), mask=i < rows)
    if SQUARES == 1:
        if tile_m == 0:
            base = squares_ptr + (part.to(tl.int64) * count + p) * cols
            tl.store(base + j, tl.sum(squares, 0), mask=j < cols)

    if OUT == "wide":
        tl.store(out_ptr + offsets, sk_cast(acc, DTYPE), mask=inside)
    elif OUT == "partials":
        tl.store(out_ptr + offsets, acc, mask=inside)
        tiles = tiles_m * tiles_n
        flag = flags_ptr + (p * tl.num_programs(1) + part) * tiles + tile
        tl.store(flag, sk_nonfinite(acc))
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
        width = sk_multiple(cols, M_VECTOR)
        own = i[:, None].to(tl.int64) * width + j[None, :]
        mine = (i < rows)[:, None] & (j < width)[None, :]
        m = tl.load(m_base + own, mask=mine, other=0.0)
        v = tl.load(v_base + own, mask=mine, other=0.0)
        m, v, n = sk_moments(acc, m, v, beta1, beta2, rest1, rest2, eps)
        tl.store(m_base + own, m, mask=mine)
        tl.store(v_base + own, v, mask=mine)
        tl.store(out_ptr + offsets, sk_cast(-(eta * scale) * n, DTYPE), mask=inside)
        if tile == 0:
            tl.store(scalars_ptr + 4 * p, eta)
            tl.store(scalars_ptr + 4 * p + 1, factor)
            tl.store(scalars_ptr + 4 * p + 3, 0.0)


@sk_inline
def sk_direction(n, r, scale, residual_scale, rate, phi, DTYPE: tl.constexpr):
    """D = -eta (scale N - s a phi R), with rate = -eta and phi holding s phi."""
    direction = scale * sk_float(n) - residual_scale * phi * sk_float(r)
    return sk_cast(rate * direction, DTYPE)


@triton.jit(do_not_specialize=_UPDATE_SIZES)
def _lowrank_adam_update_kernel(
    table_ptr,  # int64 (lists, count)
    direction_ptr,  # parameter dtype, (count, rank, ld) if LEFT else (count, rows, ld): D or N
    lowrank_ptr,  # R, like direction
    phi_ptr,  # float32 (count, columns)
    scalars_ptr,  # float32 (count, 4)
    out_ptr,  # parameter dtype (count, rows, out_ld): T2, where W_LIST < 0
    count,
    rows,
    cols,
    rank,
    columns,
    ld,
    out_ld,
    basis_stride,
    w_stride,
    g_stride,
    scale,
    residual_scale,
    LEFT: tl.constexpr,  # P D, else D P^T
    BASIS_LIST: tl.constexpr,
    BASIS_UNIT: tl.constexpr,
    BASIS_VECTOR: tl.constexpr,
    RANK_VECTOR: tl.constexpr,
    W_LIST: tl.constexpr,  # -1: write T2 and leave the weights alone
    W_UNIT: tl.constexpr,
    W_VECTOR: tl.constexpr,
    G_LIST: tl.constexpr,  # -1: without the residual
    G_UNIT: tl.constexpr,
    G_VECTOR: tl.constexpr,
    FORM: tl.constexpr,  # form D from N and R
    MATRIX_NORM: tl.constexpr,
    STEP_LIST: tl.constexpr,
    SKIPPED_LIST: tl.constexpr,
    DTYPE: tl.constexpr,
    BLOCK_M: tl.constexpr,
    BLOCK_N: tl.constexpr,
    BLOCK_K: tl.constexpr,
):
    """W = decay W + P D (left) or D P^T (right) + coef X, rounded once; or T2 = D Q^T."""
    tile, p = tl.program_id(0), tl.program_id(1).to(tl.int64)
    tiles_n = (cols + BLOCK_N - 1) // BLOCK_N
    tile_m, tile_n = tile // tiles_n, tile % tiles_n
    rate, decay = tl.load(scalars_ptr + 4 * p), tl.load(scalars_ptr + 4 * p + 1)
    if tl.load(scalars_ptr + 4 * p + 3) != 0.0:
        if W_LIST >= 0:
            if tile == 0:
                address = tl.load(table_ptr + SKIPPED_LIST * count + p)
                sk_count(sk_pointer(address, tl.float32, 1))
        return
    if W_LIST >= 0:
        if tile == 0:
            sk_count(sk_pointer(tl.load(table_ptr + STEP_LIST * count + p), tl.float32, 1))

    basis_base = sk_pointer(tl.load(table_ptr + BASIS_LIST * count + p), DTYPE, BASIS_VECTOR)
    ld = sk_multiple(ld, 8)
    i = tile_m * BLOCK_M + tl.arange(0, BLOCK_M)
    j = tile_n * BLOCK_N + tl.arange(0, BLOCK_N)
    # s phi, one per canonical column of the tile ([1, BLOCK_N] or [BLOCK_M, 1]) or one for all.
    phi = 0.0
    if FORM or G_LIST >= 0:
        s = tl.load(scalars_ptr + 4 * p + 2)
        if MATRIX_NORM:
            phi = s * tl.load(phi_ptr + p * columns)
        elif LEFT:
            phi = s * tl.load(phi_ptr + p * columns + j, mask=j < cols, other=0.0)[None, :]
        else:
            phi = s * tl.load(phi_ptr + p * columns + i, mask=i < rows, other=0.0)[:, None]

    acc = tl.full((BLOCK_M, BLOCK_N), 0, tl.float32)
    for start in range(0, rank, BLOCK_K):
        k = start + tl.arange(0, BLOCK_K)
        if LEFT:
            # [BLOCK_M, BLOCK_K], [BLOCK_K, BLOCK_N]
            a = sk_tile(basis_base, i, k, rows, rank, basis_stride, BASIS_UNIT, BASIS_VECTOR)
            b = sk_tile(direction_ptr + p * rank * ld, k, j, rank, ld, ld, 1, 8)
            if FORM:
                r = sk_tile(lowrank_ptr + p * rank * ld, k, j, rank, ld, ld, 1, 8)
                b = sk_direction(b, r, scale, residual_scale, -rate, phi, DTYPE)
        else:
            a = sk_tile(direction_ptr + p * rows * ld, i, k, rows, rank, ld, 1, RANK_VECTOR)
            if FORM:
                r = sk_tile(lowrank_ptr + p * rows * ld, i, k, rows, rank, ld, 1, RANK_VECTOR)
                a = sk_direction(a, r, scale, residual_scale, -rate, phi, DTYPE)
            b = sk_tile(basis_base, k, j, rank, cols, basis_stride, 1 - BASIS_UNIT, BASIS_VECTOR)
        acc = sk_dot(a, b, acc)

    if W_LIST < 0:
        out_ld = sk_multiple(out_ld, 8)
        offsets = (p * rows + i[:, None]) * out_ld + j[None, :]
        inside = (i < rows)[:, None] & (j < out_ld)[None, :]
        tl.store(out_ptr + offsets, sk_cast(acc, DTYPE), mask=inside)
    else:
        if G_LIST >= 0:
            g_base = sk_pointer(tl.load(table_ptr + G_LIST * count + p), DTYPE, G_VECTOR)
            x = sk_tile(g_base, i, j, rows, cols, g_stride, G_UNIT, G_VECTOR)
            acc += (-rate * phi) * sk_float(x)
        w_base = sk_pointer(tl.load(table_ptr + W_LIST * count + p), DTYPE, W_VECTOR)
        w = sk_tile(w_base, i, j, rows, cols, w_stride, W_UNIT, W_VECTOR)
        acc += decay * sk_float(w)
        if W_UNIT == 1:
            inside = (i < rows)[:, None] & (j < sk_multiple(cols, W_VECTOR))[None, :]
        else:
            inside = (i < sk_multiple(rows, W_VECTOR))[:, None] & (j < cols)[None, :]
        offsets = sk_offsets(i, j, sk_multiple(w_stride, W_VECTOR), W_UNIT)
        tl.store(w_base + offsets, sk_cast(acc, DTYPE), mask=inside)
