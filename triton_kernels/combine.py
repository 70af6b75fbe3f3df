"""Sums of basis vectors: each is read once, and so is what they are added to."""

import triton
import triton.language as tl
from subkern.triton_kernels.group_parts import sk_part
from subkern.triton_kernels.prims import sk_multiple


@triton.jit(do_not_specialize=["m", "n"])
def _combine_sum_kernel(
    z_ptr,  # float32 (groups, n)
    v_ptr,  # float32 (groups, m, n)
    coefficients_ptr,  # float64 (groups, m)
    out_ptr,  # float32 (groups, n)
    m,
    n,
    VECTOR: tl.constexpr,
    CHUNK: tl.constexpr,
    BLOCK: tl.constexpr,
):
    """Set out to z + sum_j coefficients_j V_j in one part of a group."""
    place, count = sk_part(n, VECTOR, CHUNK)
    group, n = tl.program_id(0).to(tl.int64), sk_multiple(n, VECTOR)
    basis = v_ptr + place + group * (m - 1) * n  # groups of V are m times as far apart
    for start in range(0, count, BLOCK):
        at = start + tl.arange(0, BLOCK)
        here = at < count
        total = tl.load(z_ptr + place + at, mask=here, other=0.0)
        for j in range(0, m):
            factor = tl.load(coefficients_ptr + group * m + j).to(tl.float32)
            v = tl.load(basis + tl.cast(j, tl.int64) * n + at, mask=here, other=0.0)
            total += factor * v
        tl.store(out_ptr + place + at, total, mask=here)
