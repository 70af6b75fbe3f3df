"""lowrank_project and lowrank_update: tile edges, sides, layouts, dtypes, threads, against fp64."""

import numpy as np
import pytest
from native_cases import product_inputs, run_project, run_update
from native_model import BF16, EPS, FP32, Buffer, assert_close

from subkern import _C

SHAPES = [  # canonical k x q, rank
    (1, 1, 1),
    (1, 257, 1),
    (2, 3, 2),
    (3, 2, 5),
    (13, 17, 7),
    (14, 32, 14),
    (15, 33, 15),
    (29, 65, 29),
    (64, 63, 6),
    (257, 40, 33),
    (513, 70, 129),
    (40, 5461, 2),
    (600, 31, 31),
    (4, 0, 2),
    (0, 4, 2),
    (4, 5, 0),
]
SHAPE = pytest.mark.parametrize("shape", SHAPES, ids=lambda s: f"k{s[0]}-q{s[1]}-r{s[2]}")
LAYOUTS = ["rows", "padded", "cols", "strided"]
LAYOUT = pytest.mark.parametrize("layout", LAYOUTS)
CODES = pytest.mark.parametrize("code", [FP32, BF16], ids=["fp32", "bf16"])
AXES = pytest.mark.parametrize("axis", [1, 0], ids=["left", "right"])


def check_project(x, p, r, norms, axis, threads=2):
    run_project(x, p, r, norms, axis, threads)
    stored, basis = (b.array.astype(np.float64) for b in (x, p))
    left, right = (basis.T, stored) if axis == 1 else (stored, basis)
    # At most 256 terms in a row, then the sums of such blocks.
    units = min(basis.shape[0], 256) + basis.shape[0] // 128 + 4
    assert_close(r.array, left @ right, np.abs(left) @ np.abs(right), units=units, name="R")
    if norms:
        squares = np.sum(stored**2, axis=1 - axis)
        assert_close(norms.array, squares, squares, units=34, name="norms")
    for buffer in (x, p):
        buffer.assert_unchanged()
    for buffer in (r, norms):
        if buffer:
            buffer.assert_guarded()


def check_update(w, p, d, x, coef, axis, decay, threads=2):
    before, basis, low = (b.array.astype(np.float64) for b in (w, p, d))
    left, right = (basis, low) if axis == 1 else (low, basis.T)
    expected = decay * before + left @ right
    size = np.abs(decay * before) + (left.shape[1] + 1) * (np.abs(left) @ np.abs(right))
    if x:
        c = coef.array[None, :] if axis == 1 else coef.array[:, None]
        expected, size = expected + c * x.array, size + np.abs(c * x.array)
    run_update(w, p, d, x, coef, axis, decay, threads)
    assert_close(w.array, expected, size, w.code, units=4, name="W")
    w.assert_guarded()
    for buffer in (p, d, x, coef):
        if buffer:
            buffer.assert_unchanged()


@SHAPE
@AXES
@CODES
@LAYOUT
def test_project(shape, axis, code, layout):
    for p_layout in LAYOUTS:
        x, _, p, r, norms, _, _ = product_inputs(*shape, axis, code, (layout, "rows", p_layout))
        check_project(x, p, r, norms, axis)


@SHAPE
@AXES
@CODES
@LAYOUT
def test_update(shape, axis, code, layout):
    for x_layout in LAYOUTS:
        layouts = (x_layout, layout, "rows")
        x, w, p, _, _, d, coef = product_inputs(*shape, axis, code, layouts)
        check_update(w, p, d, x, coef, axis, 0.9)
    _, w, p, _, _, d, _ = product_inputs(*shape, axis, code, ("rows", layout, "cols"))
    check_update(w, p, d, None, None, axis, 0.5)


@AXES
def test_mixed_dtypes(axis):
    x, w, p, r, norms, d, coef = product_inputs(40, 90, 20, axis, FP32)
    narrow = Buffer(p.array, BF16)
    check_project(x, narrow, r, None, axis)
    check_update(w, narrow, d, Buffer(x.array, BF16), coef, axis, 0.9)
    norms.assert_unchanged()


@AXES
def test_norms_alone(axis):
    """Rank 0 leaves the norms: what a projection by another library needs."""
    x, _, p, r, norms, _, _ = product_inputs(300, 90, 0, axis, BF16, ("cols", "rows", "rows"))
    check_project(x, p, r, norms, axis)


@AXES
@pytest.mark.parametrize("layout", ["rows", "cols"])
def test_norms_of_long_columns(axis, layout):
    """A column of 20000 terms keeps fp32 accuracy: a drift would show in Fira's residual."""
    x = np.random.default_rng(0).random((20_000, 3))
    x = Buffer(x if axis == 1 else x.T, layout=layout)
    r, norms = Buffer(np.zeros((0, 3) if axis == 1 else (3, 0))), Buffer(np.zeros(3))
    run_project(x, Buffer(np.zeros((20_000, 0))), r, norms, axis)
    squares = np.sum(x.array.astype(np.float64) ** 2, axis=1 - axis)
    np.testing.assert_allclose(norms.array, squares, rtol=4 * EPS[FP32])


@AXES
@CODES
@pytest.mark.parametrize("layout", ["rows", "cols"])
@pytest.mark.parametrize("shape", [(1, 9001, 1), (300, 2000, 40), (1100, 700, 130)], ids=str)
def test_threads(shape, axis, code, layout):
    runs = []
    for threads in (1, 2, 3):
        x, w, p, r, norms, d, coef = product_inputs(*shape, axis, code, (layout, layout, "rows"))
        run_project(x, p, r, norms, axis, threads)
        run_update(w, p, d, x, coef, axis, 0.9, threads)
        runs.append((r.bits, norms.bits, w.bits))
    for other in runs[1:]:
        for got, want in zip(other, runs[0], strict=True):
            np.testing.assert_array_equal(got, want)


@AXES
def test_layouts_of_x_do_not_change_bits(axis):
    runs = []
    for layout in LAYOUTS:
        x, w, p, r, norms, d, coef = product_inputs(
            70, 90, 20, axis, FP32, (layout, layout, layout)
        )
        run_project(x, p, r, norms, axis)
        run_update(w, p, d, x, coef, axis, 0.9)
        runs.append((r.bits, norms.bits, w.bits))
    for other in runs[1:]:
        for got, want in zip(other, runs[0], strict=True):
            np.testing.assert_array_equal(got, want)


def test_nonfinite_stays_in_its_column():
    x, w, p, r, norms, d, coef = product_inputs(40, 70, 20, 1, FP32)
    x._matrix[3, 5] = np.inf
    run_project(x, p, r, norms, 1)
    assert np.isinf(norms.array[5])
    run_update(w, p, d, x, coef, 1, 0.9)
    bad = ~np.isfinite(r.array).all(axis=0)
    assert list(np.flatnonzero(bad)) == [5]
    assert list(np.argwhere(~np.isfinite(w.array))[0]) == [3, 5]


@pytest.mark.parametrize("threads", [1, 2, 16, 64])
def test_workspace_is_bounded(threads):
    shape = {"rows": 2048, "cols": 5461, "rank": 512, "column_axis": 1}
    floats = _C.lowrank_product_workspace(**shape, threads=threads)
    packed_basis, all_blocks = 2048 * (512 + 32), 1 << 21
    assert floats <= 1.1 * (packed_basis + all_blocks)
