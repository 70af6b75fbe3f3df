"""Last stage of a low-rank Adam step: the product that goes back to the weights, and their update.

Every matrix is addressed through a table of int64 addresses (lists x count), so one launch serves
a whole chunk: grid (tiles, count). LIST arguments name a row of that table.
"""

import triton
import triton.language as tl
from subkern.triton_kernels.adam_core import sk_count
from subkern.triton_kernels.prims import (
    sk_cast,
    sk_dot,
    sk_float,
    sk_halves,
    sk_inline,
    sk_multiple,
    sk_pointer,
    sk_store_tile,
    sk_tile,
)

# The facts that matter are constants below; specialising on sizes would compile more kernels.
SIZES = ["count", "rows", "cols", "rank", "columns", "ld", "out_ld"]
SIZES += ["basis_stride", "w_stride", "g_stride"]


@sk_inline
def sk_direction(n, r, scale, residual_scale, rate, phi, DTYPE: tl.constexpr):
    """D = -eta (scale N - s a phi R), with rate = -eta and phi holding s phi."""
    direction = scale * sk_float(n) - residual_scale * phi * sk_float(r)
    return sk_cast(rate * direction, DTYPE)


@sk_inline
def sk_phi_of(
    phi_ptr,
    i,
    j,
    rows,
    cols,
    LEFT: tl.constexpr,
    MATRIX_NORM: tl.constexpr,
    ROWS: tl.constexpr,
    COLS: tl.constexpr,
):
    """Phi of a tile: one per canonical column ([1, COLS] or [ROWS, 1]), or one for all."""
    if MATRIX_NORM:
        phi = tl.load(phi_ptr)
    elif LEFT:
        col = j + tl.arange(0, COLS)
        phi = tl.load(phi_ptr + col, mask=col < cols, other=0.0)[None, :]
    else:
        row = i + tl.arange(0, ROWS)
        phi = tl.load(phi_ptr + row, mask=row < rows, other=0.0)[:, None]
    return phi


@sk_inline
def sk_write(
    acc,
    w_ptr,
    g_ptr,
    phi_ptr,
    coef,
    decay,
    i,
    j,
    rows,
    cols,
    w_stride,
    g_stride,
    W_UNIT: tl.constexpr,
    W_VECTOR: tl.constexpr,
    RESIDUAL: tl.constexpr,
    G_UNIT: tl.constexpr,
    G_VECTOR: tl.constexpr,
    LEFT: tl.constexpr,
    MATRIX_NORM: tl.constexpr,
    DTYPE: tl.constexpr,
    ROWS: tl.constexpr,
    COLS: tl.constexpr,
    PARTS: tl.constexpr,
):
    """W = decay W + acc + coef phi X, part by part: the whole tile's W and X would not fit."""
    if PARTS > 1:
        HALF: tl.constexpr = COLS // 2
        first, second = sk_halves(acc, ROWS, COLS)
        for part in tl.static_range(2):
            sk_write(
                first if part == 0 else second,
                w_ptr,
                g_ptr,
                phi_ptr,
                coef,
                decay,
                i,
                j + part * HALF,
                rows,
                cols,
                w_stride,
                g_stride,
                W_UNIT,
                W_VECTOR,
                RESIDUAL,
                G_UNIT,
                G_VECTOR,
                LEFT,
                MATRIX_NORM,
                DTYPE,
                ROWS,
                HALF,
                PARTS // 2,
            )
    else:
        w = sk_tile(w_ptr, i, j, rows, cols, w_stride, W_UNIT, W_VECTOR, ROWS, COLS)
        kept = decay * sk_float(w)
        if RESIDUAL:
            x = sk_tile(g_ptr, i, j, rows, cols, g_stride, G_UNIT, G_VECTOR, ROWS, COLS)
            phi = sk_phi_of(phi_ptr, i, j, rows, cols, LEFT, MATRIX_NORM, ROWS, COLS)
            kept += (coef * phi) * sk_float(x)
        values = sk_cast(kept + acc, DTYPE)
        sk_store_tile(w_ptr, values, i, j, rows, cols, w_stride, W_UNIT, W_VECTOR, ROWS, COLS)


@triton.jit(do_not_specialize=SIZES)
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
    PARTS: tl.constexpr,  # of a tile's columns, written one after the other
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
    i, j = tile_m * BLOCK_M, tile_n * BLOCK_N
    phi_base = phi_ptr + p * columns
    s = 0.0
    if FORM or G_LIST >= 0:
        s = tl.load(scalars_ptr + 4 * p + 2)
    if FORM:
        phi = s * sk_phi_of(phi_base, i, j, rows, cols, LEFT, MATRIX_NORM, BLOCK_M, BLOCK_N)

    acc = tl.full((BLOCK_M, BLOCK_N), 0, tl.float32)
    for start in range(0, rank, BLOCK_K):
        # a [BLOCK_M, BLOCK_K], b [BLOCK_K, BLOCK_N]
        if LEFT:
            a = sk_tile(
                basis_base,
                i,
                start,
                rows,
                rank,
                basis_stride,
                BASIS_UNIT,
                BASIS_VECTOR,
                BLOCK_M,
                BLOCK_K,
            )
            at = p * rank * ld
            b = sk_tile(direction_ptr + at, start, j, rank, ld, ld, 1, 8, BLOCK_K, BLOCK_N)
            if FORM:
                r = sk_tile(lowrank_ptr + at, start, j, rank, ld, ld, 1, 8, BLOCK_K, BLOCK_N)
                b = sk_direction(b, r, scale, residual_scale, -rate, phi, DTYPE)
        else:
            at = p * rows * ld
            a = sk_tile(
                direction_ptr + at, i, start, rows, rank, ld, 1, RANK_VECTOR, BLOCK_M, BLOCK_K
            )
            if FORM:
                r = sk_tile(
                    lowrank_ptr + at, i, start, rows, rank, ld, 1, RANK_VECTOR, BLOCK_M, BLOCK_K
                )
                a = sk_direction(a, r, scale, residual_scale, -rate, phi, DTYPE)
            b = sk_tile(
                basis_base,
                start,
                j,
                rank,
                cols,
                basis_stride,
                1 - BASIS_UNIT,
                BASIS_VECTOR,
                BLOCK_K,
                BLOCK_N,
            )
        acc = sk_dot(a, b, acc)

    if W_LIST < 0:
        ld = sk_multiple(out_ld, 8)
        out = out_ptr + p * rows * ld
        sk_store_tile(out, sk_cast(acc, DTYPE), i, j, rows, ld, ld, 1, 8, BLOCK_M, BLOCK_N)
    else:
        w_base = sk_pointer(tl.load(table_ptr + W_LIST * count + p), DTYPE, W_VECTOR)
        g_base = w_base  # stands for a gradient that is not read
        if G_LIST >= 0:
            g_base = sk_pointer(tl.load(table_ptr + G_LIST * count + p), DTYPE, G_VECTOR)
        sk_write(
            acc,
            w_base,
            g_base,
            phi_base,
            -rate * s,
            decay,
            i,
            j,
            rows,
            cols,
            w_stride,
            g_stride,
            W_UNIT,
            W_VECTOR,
            G_LIST >= 0,
            G_UNIT,
            G_VECTOR,
            LEFT,
            MATRIX_NORM,
            DTYPE,
            BLOCK_M,
            BLOCK_N,
            PARTS,
        )
