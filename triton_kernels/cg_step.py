"""A step of conjugate gradients on groups of numbers, in two halves of one read each.

A group's scalars are a row of ``state_ptr``, float64, in the columns of the reference. They are
read and judged on the device: a group that is done is not written.
"""

import triton
import triton.language as tl
from subkern.triton_kernels.group_parts import sk_part, sk_place_of_sum, sk_sum_of_parts
from subkern.triton_kernels.prims import sk_inline

from subkern.reference import cg_step as reference

COLUMNS = tl.constexpr(reference.COLUMNS)
RHO, RR, TARGET, FLOOR, BEST, STALLED, STATUS, ITERATIONS, ALPHA, BETA = (
    tl.constexpr(column) for column in range(reference.COLUMNS)
)
RUNNING, CONVERGED = tl.constexpr(reference.RUNNING), tl.constexpr(reference.CONVERGED)
STAGNATED, CURVATURE = tl.constexpr(reference.STAGNATED), tl.constexpr(reference.CURVATURE)
NONFINITE = tl.constexpr(reference.NONFINITE)
PATIENCE, NEAR = tl.constexpr(reference.PATIENCE), tl.constexpr(reference.NEAR)


@sk_inline
def sk_row(state_ptr):
    """The state of this program's group."""
    return state_ptr + tl.program_id(0).to(tl.int64) * COLUMNS


@sk_inline
def sk_step_size(row_ptr, curvature):
    """(whether the group may take a step, its size rho / curvature or 0)."""
    good = (tl.abs(curvature) < float("inf")) & (curvature > 0.0)
    moves = (tl.load(row_ptr + STATUS) == RUNNING) & good
    return moves, tl.where(moves, tl.load(row_ptr + RHO) / tl.where(moves, curvature, 1.0), 0.0)


@triton.jit(do_not_specialize=["n"])
def _cg_step_residual_kernel(
    r_ptr,  # float32 (groups, n)
    q_ptr,  # float32 (groups, n)
    curvature_ptr,  # float64 (groups,)
    state_ptr,  # float64 (groups, COLUMNS)
    sums_ptr,  # float64 (groups, parts): squares of the new r, where a group may take a step
    n,
    VECTOR: tl.constexpr,
    CHUNK: tl.constexpr,
    BLOCK: tl.constexpr,
):
    """Set r to r - alpha q in one part of a group."""
    curvature = tl.load(curvature_ptr + tl.program_id(0).to(tl.int64))
    moves, alpha = sk_step_size(sk_row(state_ptr), curvature)
    if moves:
        step = alpha.to(tl.float32)
        place, count = sk_part(n, VECTOR, CHUNK)
        total = tl.full((BLOCK,), 0, tl.float64)
        for start in range(0, count, BLOCK):
            at = start + tl.arange(0, BLOCK)
            r = tl.load(r_ptr + place + at, mask=at < count, other=0.0)
            q = tl.load(q_ptr + place + at, mask=at < count, other=0.0)
            # A step that rounds to 0 leaves r alone, whatever q holds.
            r = tl.where(step != 0.0, r - step * q, r)
            tl.store(r_ptr + place + at, r, mask=at < count)
            total += r.to(tl.float64) * r.to(tl.float64)
        tl.store(sums_ptr + sk_place_of_sum(), tl.sum(total, 0))


@triton.jit(do_not_specialize=["parts"])
def _cg_step_state_kernel(
    curvature_ptr,  # float64 (groups,)
    state_ptr,  # float64 (groups, COLUMNS)
    sums_ptr,  # float64 (groups, parts)
    parts,
    BLOCK: tl.constexpr,
):
    """Judge the step of a group, as the reference does."""
    row = sk_row(state_ptr)
    curvature = tl.load(curvature_ptr + tl.program_id(0).to(tl.int64))
    moves, alpha = sk_step_size(row, curvature)
    rr = tl.where(moves, sk_sum_of_parts(sums_ptr, parts, BLOCK), 0.0)  # else nothing is there
    rho, floor, best = tl.load(row + RHO), tl.load(row + FLOOR), tl.load(row + BEST)
    status, iterations = tl.load(row + STATUS), tl.load(row + ITERATIONS)
    stalled = tl.where(rr < best, 0.0, tl.load(row + STALLED) + 1.0)
    stuck = (rr <= floor) | ((stalled >= PATIENCE) & (rr <= NEAR * floor))
    after = tl.where(stuck, STAGNATED, RUNNING)
    after = tl.where(rr <= tl.load(row + TARGET), CONVERGED, after)
    after = tl.where(tl.abs(rr) < float("inf"), after, NONFINITE)
    after = tl.where(curvature > 0.0, after, CURVATURE)
    after = tl.where(tl.abs(curvature) < float("inf"), after, NONFINITE)
    good = moves & (alpha != 0.0) & (after != NONFINITE)
    tl.store(row + STATUS, tl.where(status == RUNNING, after.to(tl.float64), status))
    tl.store(row + ALPHA, tl.where(good, alpha, 0.0))
    tl.store(row + BETA, rr / tl.where(good, rho, 1.0), mask=good)
    tl.store(row + RHO, rr, mask=good)
    tl.store(row + RR, rr, mask=good)
    tl.store(row + BEST, tl.where(rr < best, rr, best), mask=good)
    tl.store(row + STALLED, stalled, mask=good)
    tl.store(row + ITERATIONS, iterations + 1.0, mask=good)


@triton.jit(do_not_specialize=["n"])
def _cg_step_direction_kernel(
    x_ptr,  # float32 (groups, n)
    p_ptr,  # float32 (groups, n)
    z_ptr,  # float32 (groups, n)
    state_ptr,  # float64 (groups, COLUMNS)
    n,
    VECTOR: tl.constexpr,
    CHUNK: tl.constexpr,
    BLOCK: tl.constexpr,
):
    """Set x to x + alpha p and p to z + beta p in one part of a group that moved."""
    row = sk_row(state_ptr)
    size = tl.load(row + ALPHA)
    if size != 0.0:
        alpha, beta = size.to(tl.float32), tl.load(row + BETA).to(tl.float32)
        place, count = sk_part(n, VECTOR, CHUNK)
        for start in range(0, count, BLOCK):
            at = start + tl.arange(0, BLOCK)
            here = at < count
            p = tl.load(p_ptr + place + at, mask=here, other=0.0)
            x = tl.load(x_ptr + place + at, mask=here, other=0.0)
            z = tl.load(z_ptr + place + at, mask=here, other=0.0)
            tl.store(x_ptr + place + at, x + alpha * p, mask=here)
            tl.store(p_ptr + place + at, z + beta * p, mask=here)
