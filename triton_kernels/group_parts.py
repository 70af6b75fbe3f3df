"""Groups of numbers in parts, one for each program, and their sums: what several kernels share."""

import triton.language as tl
from subkern.triton_kernels.prims import sk_inline, sk_multiple


@sk_inline
def sk_part(n, VECTOR: tl.constexpr, CHUNK: tl.constexpr):
    """(place of its first number among those of all groups, how many it has) of this program.

    A grid is (groups, parts of CHUNK numbers). The length n and all pointers are multiples of
    VECTOR.
    """
    n = sk_multiple(n, VECTOR)
    begin = tl.program_id(1).to(tl.int64) * CHUNK
    count = tl.minimum(n - begin, CHUNK).to(tl.int32)
    return tl.program_id(0).to(tl.int64) * n + begin, sk_multiple(count, VECTOR)


@sk_inline
def sk_place_of_sum():
    """Where this program leaves its sum."""
    return tl.program_id(0).to(tl.int64) * tl.num_programs(1) + tl.program_id(1)


@sk_inline
def sk_sum_of_parts(sums_ptr, parts, BLOCK: tl.constexpr):
    """Sum of what the parts of a group left, in an order that depends on ``parts`` alone."""
    total = tl.full((BLOCK,), 0, tl.float64)
    first = tl.program_id(0).to(tl.int64) * parts
    for start in range(0, parts, BLOCK):
        at = start + tl.arange(0, BLOCK)
        total += tl.load(sums_ptr + first + at, mask=at < parts, other=0.0)
    return tl.sum(total, 0)
