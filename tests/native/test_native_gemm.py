"""gemm: shapes around every tile edge, all strides, beta, threads."""

import numpy as np
import pytest
from native_cases import run_gemm
from native_model import EPS, FP32, Buffer

SHAPES = [  # m, n, k
    (1, 1, 1),
    (1, 1, 700),
    (2, 3, 5),
    (1, 257, 300),
    (2, 515, 33),
    (300, 1, 257),
    (301, 2, 300),
    (300, 3, 64),
    (3, 300, 1),
    (33, 63, 2),
    (64, 65, 15),
    (97, 129, 513),
    (128, 31, 256),
    (7, 4100, 3),
    (1, 5, 4100),
    (13, 17, 0),
    (0, 5, 3),
    (5, 0, 3),
]
LAYOUTS = ["rows", "padded", "cols", "strided"]


def operands(m, n, k, a_layout="rows", b_layout="rows", c_layout="rows"):
    rng = np.random.default_rng(0)
    return (
        Buffer(rng.standard_normal((m, k)), layout=a_layout),
        Buffer(rng.standard_normal((k, n)), layout=b_layout),
        Buffer(rng.standard_normal((m, n)), layout=c_layout),
    )


def assert_product(a, b, c, before, beta):
    left, right = (x.array.astype(np.float64) for x in (a, b))
    expected = left @ right + (beta * before if beta else 0.0)
    size = np.abs(left) @ np.abs(right) + (np.abs(beta * before) if beta else 0.0)
    # At most 256 terms in a row (dot products: per lane), then a few block sums.
    error = np.abs(c.array - expected) - (min(a.array.shape[1], 256) + 8) * EPS[FP32] * size
    assert error.size == 0 or error.max() <= 0
    c.assert_guarded()
    a.assert_unchanged()
    b.assert_unchanged()


@pytest.mark.parametrize("shape", SHAPES, ids=lambda s: f"m{s[0]}-n{s[1]}-k{s[2]}")
@pytest.mark.parametrize("a_layout", LAYOUTS)
@pytest.mark.parametrize("b_layout", LAYOUTS)
def test_gemm(shape, a_layout, b_layout):
    for beta in (0.0, 1.0, -0.5):
        a, b, c = operands(*shape, a_layout, b_layout, "padded")
        before = c.array.astype(np.float64)
        run_gemm(a, b, c, beta, threads=2)
        assert_product(a, b, c, before, beta)


@pytest.mark.parametrize("shape", [(40, 70, 300), (1, 70, 9), (70, 2, 300), (4, 5, 0)])
def test_gemm_beta_zero_does_not_read_c(shape):
    a, b, c = operands(*shape)
    c._matrix[...] = np.nan
    run_gemm(a, b, c, 0.0)
    assert_product(a, b, c, None, 0.0)


@pytest.mark.parametrize("shape", [(1, 9001, 400), (2, 5461, 300), (4000, 1, 300), (200, 700, 300)])
@pytest.mark.parametrize("layout", ["rows", "cols"])
def test_gemm_threads(shape, layout):
    runs = []
    for threads in (1, 2, 3):
        a, b, c = operands(*shape, layout, layout)
        run_gemm(a, b, c, 1.0, threads)
        runs.append(c.bits)
    np.testing.assert_array_equal(runs[0], runs[1])
    np.testing.assert_array_equal(runs[0], runs[2])


def test_gemm_propagates_nan_and_inf():
    a, b, c = operands(40, 70, 300)
    a._matrix[7, 100] = np.nan
    run_gemm(a, b, c, 0.0)
    assert np.flatnonzero(np.isnan(c.array).any(axis=1)).tolist() == [7]
    assert np.isnan(c.array[7]).all()
