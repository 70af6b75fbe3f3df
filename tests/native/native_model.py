"""The native kernels' mathematics in NumPy fp64, and buffers that notice stray writes."""

import numpy as np

FP32, BF16 = 0, 1
EPS = {FP32: 2.0**-24, BF16: 2.0**-8}
SENTINEL = {FP32: np.float32(-7.5e33), BF16: np.uint16(0xDEAD)}
STORAGE = {FP32: np.float32, BF16: np.uint16}
BAND = 33  # elements on each side; odd, so that buffers are unaligned


def to_bf16(values):
    """Round to bfloat16 bit patterns: nearest, ties to even, NaN to 0x7fc0."""
    values = np.asarray(values, dtype=np.float32)
    bits = values.view(np.uint32).astype(np.uint64)
    rounded = ((bits + 0x7FFF + ((bits >> 16) & 1)) >> 16).astype(np.uint16)
    return np.where(np.isnan(values), np.uint16(0x7FC0), rounded)


def from_bf16(bits):
    """Widen bfloat16 bit patterns to float32."""
    return (np.asarray(bits, dtype=np.uint16).astype(np.uint32) << 16).view(np.float32)


class Buffer:
    """A matrix, vector or scalar between two guard bands, optionally strided.

    Args:
        values: what it holds, rounded to the storage type.
        code: dtype code of the kernels.
        layout: "rows" (col stride 1), "padded" (col stride 1, longer rows), "cols" (row stride 1)
            or "strided" (neither).
    """

    def __init__(self, values, code=FP32, layout="rows"):
        values = np.asarray(values, dtype=np.float32)
        self.code = code
        matrix = values.reshape(1, -1) if values.ndim < 2 else values
        rows, cols = matrix.shape
        strides = {
            "rows": (cols, 1),
            "padded": (cols + 5, 1),
            "cols": (1, rows),
            "strided": (2 * cols + 3, 2),
        }[layout]
        self.row_stride, self.col_stride = strides
        extent = max(1, rows * strides[0] + cols * strides[1])
        self._base = np.full(extent + 2 * BAND, SENTINEL[code], dtype=STORAGE[code])
        size = self._base.itemsize
        self._owned = np.zeros(self._base.shape, dtype=bool)
        self._matrix, owned = (
            np.lib.stride_tricks.as_strided(
                base[BAND:], (rows, cols), (strides[0] * width, strides[1] * width)
            )
            for base, width in ((self._base, size), (self._owned, 1))
        )
        owned[...] = True
        self._shape = values.shape
        self._matrix[...] = to_bf16(matrix) if code == BF16 else matrix
        self._before = self._base.copy()

    @property
    def address(self):
        return self._base.ctypes.data + BAND * self._base.itemsize

    @property
    def array(self):
        """The values as float32, in the shape they were given."""
        matrix = from_bf16(self._matrix) if self.code == BF16 else self._matrix.copy()
        return matrix.reshape(self._shape)

    @property
    def bits(self):
        """The stored bit patterns, for exact comparisons."""
        return np.ascontiguousarray(self._matrix).view(np.uint16 if self.code else np.uint32)

    def strides(self, name):
        return {f"{name}_row_stride": self.row_stride, f"{name}_col_stride": self.col_stride}

    def assert_guarded(self):
        """Nothing but the matrix itself was written."""
        np.testing.assert_array_equal(self._base[~self._owned], SENTINEL[self.code])

    def assert_unchanged(self):
        width = np.uint16 if self.code else np.uint32
        np.testing.assert_array_equal(self._base.view(width), self._before.view(width))


def assert_close(actual, expected, magnitude, code=FP32, units=8, name=""):
    """|actual - expected| within `units` fp32 roundings of magnitude and one of the storage."""
    expected = np.asarray(expected, dtype=np.float64)
    bound = units * EPS[FP32] * np.abs(magnitude) + 1e-37
    if code == BF16:
        bound = bound + EPS[BF16] * np.abs(expected) * 1.01
    worst = np.abs(np.asarray(actual, dtype=np.float64) - expected) - bound
    assert worst.size == 0 or worst.max() <= 0, f"{name}: exceeds its bound by {worst.max():.3e}"


def eta_of(step, lr, beta1, beta2, correct_bias):
    """Step size of call number `step`."""
    return lr * np.sqrt(1 - beta2**step) / (1 - beta1**step) if correct_bias else lr


def adam_core(r, m, v, beta1, beta2, eps):
    """New M, V and N, with magnitudes that bound the roundings of M and N."""
    r, m, v = (np.asarray(x, dtype=np.float64) for x in (r, m, v))
    new_m = beta1 * m + (1 - beta1) * r
    new_v = beta2 * v + (1 - beta2) * r * r
    m_size = np.abs(beta1 * m) + np.abs((1 - beta1) * r)
    root = np.sqrt(new_v) + eps
    return new_m, new_v, new_m / root, m_size, m_size / root


def fira_scales(n, r, xx, axis, previous, eta, a, gamma, norm_eps, matrix_norm):
    """Coefficients of X per canonical column and the new limiter value."""
    along = 0 if axis == 1 else 1
    nn, rr = (np.sum(np.asarray(t, np.float64) ** 2, axis=along) for t in (n, r))
    xx = np.asarray(xx, np.float64)
    columns = xx.size
    if matrix_norm:
        nn, rr, xx = nn.sum(), rr.sum(), xx.sum()
    phi = np.where(rr == 0, 0.0, np.sqrt(nn) / (np.sqrt(rr) + norm_eps))
    rho2 = xx - 2 * a * rr + a * a * rr
    rho2 = np.where(rho2 < 1e-6 * xx, 0.0, np.maximum(rho2, 0.0))
    norm = float(np.sqrt(np.sum(phi**2 * rho2)))
    if previous <= 0:
        s, limiter = 1.0, norm
    else:
        growth = max(norm / (previous + norm_eps), gamma) / gamma
        s, limiter = 1 / growth, norm / growth
    return np.broadcast_to(-eta * s * phi, (columns,)), limiter
