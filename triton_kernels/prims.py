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
def sk_place(
    row,
    col,
    row_end,
    col_end,
    stride,
    UNIT: tl.constexpr,
    VECTOR: tl.constexpr,
    ROWS: tl.constexpr,
    COLS: tl.constexpr,
):
    """A tile of a matrix: (offset of its corner, [ROWS, COLS] offsets from there, what is inside).

    Dimension UNIT has stride 1 and the other ``stride``; sizes along UNIT and the stride are
    multiples of VECTOR. The corner is int64, offsets within a tile fit into int32 (the backend
    refuses longer strides) and take half the registers.
    """
    i, j = tl.arange(0, ROWS), tl.arange(0, COLS)
    stride = sk_multiple(stride, VECTOR)
    if UNIT == 1:
        corner = tl.cast(row, tl.int64) * stride + col
        offsets = i[:, None] * stride + j[None, :]
        inside = (row + i < row_end)[:, None] & (col + j < sk_multiple(col_end, VECTOR))[None, :]
    else:
        corner = tl.cast(col, tl.int64) * stride + row
        offsets = i[:, None] + j[None, :] * stride
        inside = (row + i < sk_multiple(row_end, VECTOR))[:, None] & (col + j < col_end)[None, :]
    return corner, offsets, inside


@sk_inline
def sk_tile(
    ptr,
    row,
    col,
    row_end,
    col_end,
    stride,
    UNIT: tl.constexpr,
    VECTOR: tl.constexpr,
    ROWS: tl.constexpr,
    COLS: tl.constexpr,
):
    """[ROWS, COLS] of a matrix from (row, col) on, zero outside."""
    corner, offsets, inside = sk_place(row, col, row_end, col_end, stride, UNIT, VECTOR, ROWS, COLS)
    return tl.load(ptr + corner + offsets, mask=inside, other=0.0)


@sk_inline
def sk_store_tile(
    ptr,
    values,
    row,
    col,
    row_end,
    col_end,
    stride,
    UNIT: tl.constexpr,
    VECTOR: tl.constexpr,
    ROWS: tl.constexpr,
    COLS: tl.constexpr,
):
    """The counterpart of :func:`sk_tile`."""
    corner, offsets, inside = sk_place(row, col, row_end, col_end, stride, UNIT, VECTOR, ROWS, COLS)
    tl.store(ptr + corner + offsets, values, mask=inside)


@sk_inline
def sk_halves(x, ROWS: tl.constexpr, COLS: tl.constexpr):
    """Left and right half of a tile, within each thread's registers."""
    return tl.split(tl.permute(tl.reshape(x, (ROWS, 2, COLS // 2)), (0, 2, 1)))


@sk_inline
def sk_nonfinite(x):
    """1 if any element is an inf or a NaN, else 0."""
    good = tl.abs(x) < float("inf")  # false for NaN
    return tl.max(tl.where(good, 0, 1))
