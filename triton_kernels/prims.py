"""Device helpers shared by the kernels; the one place that knows about the interpreter.

Helpers start with ``sk_`` and are inlined; kernels start with ``_<op>_`` and end in ``_kernel``.
"""

import triton
import triton.language as tl

# Set before the first import: a kernel is either compiled or interpreted for its whole life.
INTERPRETING = tl.constexpr(triton.knobs.runtime.interpret)


def sk_inline(function):
    """Decorator of device helpers: triton.jit, or nothing where the interpreter runs them.

    The interpreter patches triton.language anew at every jitted call, which took half of its time;
    inside a kernel it is patched already.
    """
    return function if INTERPRETING.value else triton.jit(function)


@sk_inline
def sk_float(x):
    """Float32 of a float32 or bfloat16 value (exact)."""
    if INTERPRETING and x.dtype == tl.bfloat16:
        # The interpreter's own conversion is exact too, but tens of times slower.
        bits = x.to(tl.uint16, bitcast=True).to(tl.uint32) << 16
        return bits.to(tl.float32, bitcast=True)
    return x.to(tl.float32)


@sk_inline
def sk_cast(x, DTYPE: tl.constexpr):
    """A float32 value as float32 or bfloat16, rounded to nearest, ties to even."""
    if INTERPRETING and DTYPE == tl.bfloat16:
        # The interpreter truncates.
        bits = x.to(tl.uint32, bitcast=True)
        rounded = (bits + 0x7FFF + ((bits >> 16) & 1)) >> 16
        rounded = tl.where(x == x, rounded, 0x7FC0)
        return rounded.to(tl.uint16).to(tl.bfloat16, bitcast=True)
    return x.to(DTYPE)


@sk_inline
def sk_dot(a, b, acc):
    """Float32 acc + a b; float32 operands as three TF32 products, which keeps 21 bits."""
    if INTERPRETING:
        # The interpreter multiplies the bit patterns of bfloat16.
        return tl.dot(sk_float(a), sk_float(b), acc)
    if a.dtype == tl.float32:
        return tl.dot(a, b, acc, input_precision="tf32x3")
    return tl.dot(a, b, acc)


@sk_inline
def sk_pointer(address, DTYPE: tl.constexpr, VECTOR: tl.constexpr):
    """An address read from a table as a pointer that is aligned to VECTOR elements."""
    pointer = address.to(tl.pointer_type(DTYPE))
    if INTERPRETING:
        return pointer
    return tl.multiple_of(pointer, VECTOR * (DTYPE.primitive_bitwidth // 8))


@sk_inline
def sk_multiple(x, OF: tl.constexpr):
    """A size that is a multiple of OF, in a form that tells the compiler so."""
    return x // OF * OF


@sk_inline
def sk_offsets(rows, cols, stride, UNIT: tl.constexpr):
    """Int64 offsets of [rows, cols] where dimension UNIT has stride 1 and the other ``stride``."""
    if UNIT == 1:
        return rows[:, None].to(tl.int64) * stride + cols[None, :]
    return rows[:, None] + cols[None, :].to(tl.int64) * stride


@sk_inline
def sk_nonfinite(x):
    """1 if any element is an inf or a NaN, else 0."""
    good = tl.abs(x) < float("inf")  # false for NaN
    return tl.max(tl.where(good, 0, 1))
