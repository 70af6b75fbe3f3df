"""Inner products of groups of numbers: products and sums in float64, in two launches."""

import triton
import triton.language as tl
from subkern.triton_kernels.group_parts import sk_part, sk_place_of_sum, sk_sum_of_parts


@triton.jit(do_not_specialize=["n"])
def _group_dot_parts_kernel(
    u_ptr,  # float32 (groups, n)
    v_ptr,  # float32 (groups, n)
    sums_ptr,  # float64 (groups, parts)
    n,
    VECTOR: tl.constexpr,
    CHUNK: tl.constexpr,
    BLOCK: tl.constexpr,
):
    """The sum of one part of a group."""
    place, count = sk_part(n, VECTOR, CHUNK)
    total = tl.full((BLOCK,), 0, tl.float64)
    for start in range(0, count, BLOCK):
        at = start + tl.arange(0, BLOCK)
        u = tl.load(u_ptr + place + at, mask=at < count, other=0.0)
        v = tl.load(v_ptr + place + at, mask=at < count, other=0.0)
        total += u.to(tl.float64) * v.to(tl.float64)
    tl.store(sums_ptr + sk_place_of_sum(), tl.sum(total, 0))


@triton.jit(do_not_specialize=["parts"])
def _group_dot_finish_kernel(
    sums_ptr,  # float64 (groups, parts)
    dot_ptr,  # float64 (groups,)
    parts,
    BLOCK: tl.constexpr,
):
    """The sum of a group's parts."""
    total = sk_sum_of_parts(sums_ptr, parts, BLOCK)
    tl.store(dot_ptr + tl.program_id(0).to(tl.int64), total)
