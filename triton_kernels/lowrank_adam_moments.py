"""Between the products of a low-rank Adam step: moments, direction, Fira's norms and limiter."""

import triton
import triton.language as tl
from subkern.triton_kernels.adam_core import sk_moments, sk_step_size
from subkern.triton_kernels.prims import (
    sk_cast,
    sk_inline,
    sk_multiple,
    sk_place,
    sk_pointer,
)

# Residual energy below this share of a column's energy is round-off, as in the reference.
RESIDUAL_FLOOR = tl.constexpr(1e-6)


@sk_inline
def sk_total(ptr, length, stride, BLOCK: tl.constexpr):
    """Sum of ``length`` floats, in an order that depends on ``length`` alone."""
    total = tl.full((BLOCK,), 0, tl.float32)
    for start in range(0, length, BLOCK):
        at = start + tl.arange(0, BLOCK)
        # From L2: other programs of this launch wrote these.
        total += tl.load(ptr + at * stride, mask=at < length, other=0.0, cache_modifier=".cg")
    return tl.sum(total, 0)


@sk_inline
def sk_phi(nn, rr, norm_eps):
    """Ratio phi = ||N|| / (||R|| + norm_eps), 0 where R = 0."""
    root = tl.sqrt_rn(rr) + norm_eps
    return tl.where(rr == 0.0, 0.0, tl.div_rn(tl.sqrt_rn(nn), tl.where(rr == 0.0, 1.0, root)))


@sk_inline
def sk_residual(xx, rr, a):
    """Energy of X - a P R for an orthonormal basis; round-off counts as zero, NaN passes."""
    energy = xx - 2.0 * a * rr + a * a * rr
    return tl.where((energy < RESIDUAL_FLOOR * xx) | (energy < 0.0), 0.0, energy)


@triton.jit(do_not_specialize=["count", "rows", "cols", "ld", "columns", "tiles", "part_length"])
def _lowrank_adam_moments_kernel(
    table_ptr,  # int64 (lists, count)
    partials_ptr,  # float32 (SLICES, count, rows, ld)
    flags_ptr,  # int32 (count, tiles)
    squares_ptr,  # float32 (SQUARE_SLICES, count, columns)
    counters_ptr,  # int32 (count,)
    sums_ptr,  # float32 (count, blocks, 2)
    direction_ptr,  # parameter dtype (count, rows, ld): D, or N for Fira
    lowrank_ptr,  # parameter dtype (count, rows, ld): R for Fira
    phi_ptr,  # float32 (count, columns)
    scalars_ptr,  # float32 (count, 4)
    lr_ptr,
    count,
    rows,
    cols,
    ld,
    columns,
    tiles,
    part_length,  # of the dimension a program walks along, in whole tiles: all of it for Fira
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
    residual_scale,
    gamma,
    norm_eps,
    M_LIST: tl.constexpr,
    V_LIST: tl.constexpr,
    STEP_LIST: tl.constexpr,
    LIMITER_LIST: tl.constexpr,
    M_VECTOR: tl.constexpr,
    SLICES: tl.constexpr,
    SQUARE_SLICES: tl.constexpr,
    COLUMN_AXIS: tl.constexpr,  # canonical columns are columns of R (1) or rows (0)
    FIRA: tl.constexpr,
    MATRIX_NORM: tl.constexpr,
    SKIP: tl.constexpr,
    LR_TENSOR: tl.constexpr,
    CORRECT_BIAS: tl.constexpr,
    POST_DECAY: tl.constexpr,
    DTYPE: tl.constexpr,
    BLOCK_R: tl.constexpr,
    BLOCK_C: tl.constexpr,
):
    """One program: a band of canonical columns of one parameter, or a part of it (galore)."""
    band, part, p = tl.program_id(0), tl.program_id(1), tl.program_id(2).to(tl.int64)
    first = (band == 0) & (part == 0)
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
    if SKIP:
        bad = tl.full((256,), 0, tl.int32)
        for start in range(0, tiles, 256):
            at = start + tl.arange(0, 256)
            bad |= tl.load(flags_ptr + p * tiles + at, mask=at < tiles, other=0)
        if tl.max(bad, 0) != 0:
            if first:
                tl.store(scalars_ptr + 4 * p + 3, 1.0)
            return
    if first:
        tl.store(scalars_ptr + 4 * p, eta)
        tl.store(scalars_ptr + 4 * p + 1, factor)
        tl.store(scalars_ptr + 4 * p + 3, 0.0)

    m_base = sk_pointer(tl.load(table_ptr + M_LIST * count + p), tl.float32, M_VECTOR)
    v_base = sk_pointer(tl.load(table_ptr + V_LIST * count + p), tl.float32, M_VECTOR)
    ld = sk_multiple(ld, 8)
    matrix = tl.cast(rows, tl.int64) * ld
    if FIRA:
        nn = tl.full((BLOCK_R, BLOCK_C), 0, tl.float32)
        rr = tl.full((BLOCK_R, BLOCK_C), 0, tl.float32)
    BAND: tl.constexpr = BLOCK_C if COLUMN_AXIS == 1 else BLOCK_R
    STRIDE: tl.constexpr = BLOCK_R if COLUMN_AXIS == 1 else BLOCK_C
    part_length = sk_multiple(part_length, STRIDE)
    begin = part * part_length
    length = rows if COLUMN_AXIS == 1 else cols
    for start in range(begin, tl.minimum(begin + part_length, length), STRIDE):
        i = start if COLUMN_AXIS == 1 else band * BAND
        j = band * BAND if COLUMN_AXIS == 1 else start
        # [BLOCK_R, BLOCK_C]; scratch is padded to whole vectors, the moments are not
        corner, at, here = sk_place(i, j, rows, ld, ld, 1, 8, BLOCK_R, BLOCK_C)
        padded = corner + p * matrix + at
        corner, at, inside = sk_place(i, j, rows, cols, cols, 1, M_VECTOR, BLOCK_R, BLOCK_C)
        own = corner + at
        r = tl.load(partials_ptr + padded, mask=here, other=0.0)
        for s in tl.static_range(1, SLICES):
            r += tl.load(partials_ptr + s * (count * matrix) + padded, mask=here, other=0.0)
        m = tl.load(m_base + own, mask=inside, other=0.0)
        v = tl.load(v_base + own, mask=inside, other=0.0)
        m, v, n = sk_moments(r, m, v, beta1, beta2, rest1, rest2, eps)
        tl.store(m_base + own, m, mask=inside)
        tl.store(v_base + own, v, mask=inside)
        n = tl.where(inside, n, 0.0)  # 0 / eps outside, which is NaN for eps = 0
        if FIRA:
            nn += n * n
            rr += r * r
            tl.store(direction_ptr + padded, sk_cast(n, DTYPE), mask=here)
            tl.store(lowrank_ptr + padded, sk_cast(r, DTYPE), mask=here)
        else:
            tl.store(direction_ptr + padded, sk_cast(-(eta * scale) * n, DTYPE), mask=here)

    if FIRA:
        column = band * BAND + tl.arange(0, BAND)
        present = column < (cols if COLUMN_AXIS == 1 else rows)
        nn = tl.sum(nn, 1 - COLUMN_AXIS)  # [BAND]
        rr = tl.sum(rr, 1 - COLUMN_AXIS)
        blocks = tl.num_programs(0)
        sums = sums_ptr + p * blocks * 2
        if MATRIX_NORM:
            tl.store(sums + 2 * band, tl.sum(nn, 0))
            tl.store(sums + 2 * band + 1, tl.sum(rr, 0))
        else:
            xx = tl.full((BAND,), 0, tl.float32)
            for s in tl.static_range(SQUARE_SLICES):
                at = squares_ptr + (s * count + p) * columns + column
                xx += tl.load(at, mask=present, other=0.0)
            phi = sk_phi(nn, rr, norm_eps)
            tl.store(phi_ptr + p * columns + column, phi, mask=present)
            energy = phi * phi * sk_residual(xx, rr, residual_scale)
            tl.store(sums + 2 * band, tl.sum(tl.where(present, energy, 0.0), 0))
        tl.debug_barrier()  # every thread's part of the sums lies before the arrival
        if tl.atomic_add(counters_ptr + p, 1, sem="acq_rel") == blocks - 1:
            if MATRIX_NORM:
                nn_all = sk_total(sums, blocks, 2, 256)
                rr_all = sk_total(sums + 1, blocks, 2, 256)
                xx_all = 0.0
                for s in tl.static_range(SQUARE_SLICES):
                    xx_all += sk_total(squares_ptr + (s * count + p) * columns, columns, 1, 256)
                phi_all = sk_phi(nn_all, rr_all, norm_eps)
                energy_all = phi_all * phi_all * sk_residual(xx_all, rr_all, residual_scale)
                tl.store(phi_ptr + p * columns, phi_all)
            else:
                energy_all = sk_total(sums, blocks, 2, 256)
            norm = tl.sqrt_rn(energy_all)
            limiter_ptr = sk_pointer(tl.load(table_ptr + LIMITER_LIST * count + p), tl.float32, 1)
            previous = tl.load(limiter_ptr)
            growth = tl.div_rn(norm, previous + norm_eps)
            excess = tl.div_rn(tl.where(growth < gamma, gamma, growth), gamma)
            # A limiter that has not seen a residual yet neither limits nor divides by zero.
            excess = tl.where(previous > 0.0, excess, 1.0)
            tl.store(limiter_ptr, tl.div_rn(norm, excess))
            tl.store(scalars_ptr + 4 * p + 2, tl.div_rn(1.0, excess))
