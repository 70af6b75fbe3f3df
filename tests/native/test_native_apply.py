"""lowrank_adam_apply: every combination of operands, dtypes and layouts."""

import numpy as np
import pytest
from native_cases import run_apply
from native_model import BF16, FP32, Buffer, assert_close, from_bf16, to_bf16

SHAPES = [(1, 1), (2, 3), (13, 17), (16, 15), (63, 64), (5, 5461), (70, 700), (0, 4), (4, 0)]
DTYPES = [(FP32, FP32, FP32), (BF16, FP32, BF16), (BF16, BF16, FP32), (FP32, BF16, BF16)]


def check(w, t, x, coef, axis, decay, threads=2):
    rows, cols = w.array.shape
    w0 = w.array.astype(np.float64)
    expected, size = decay * w0, np.abs(w0)
    if t:
        expected, size = expected + t.array, size + np.abs(t.array)
    if x:
        c = np.ones((rows, cols))
        if coef:
            c = coef.array[None, :] if axis == 1 else coef.array[:, None]
        expected, size = expected + c * x.array, size + np.abs(c * x.array)
    run_apply(w, t, x, coef, axis, decay, threads)
    assert_close(w.array, expected, size, w.code, units=4)
    w.assert_guarded()
    for buffer in (t, x, coef):
        if buffer:
            buffer.assert_unchanged()


def make(shape, code, layout, seed):
    return Buffer(np.random.default_rng(seed).standard_normal(shape), code, layout)


@pytest.mark.parametrize("shape", SHAPES, ids=lambda s: f"{s[0]}x{s[1]}")
@pytest.mark.parametrize("codes", DTYPES, ids=str)
@pytest.mark.parametrize("layout", ["rows", "padded", "cols", "strided"])
@pytest.mark.parametrize("axis", [0, 1])
def test_apply(shape, codes, layout, axis):
    panels = [make(shape, code, layout, seed) for seed, code in enumerate(codes)]
    coef = make(shape[axis], FP32, "rows", 9)
    check(*panels, coef, axis, 0.9)


@pytest.mark.parametrize("has_t", [False, True])
@pytest.mark.parametrize("has_x", [False, True])
@pytest.mark.parametrize("has_coef", [False, True])
@pytest.mark.parametrize("code", [FP32, BF16])
def test_apply_absent_operands(has_t, has_x, has_coef, code):
    shape = (11, 37)
    w, t, x = (make(shape, code, "padded", seed) for seed in range(3))
    coef = make(37, FP32, "rows", 9)
    check(w, t if has_t else None, x if has_x else None, coef if has_coef else None, 1, 0.5)


def test_apply_mixed_layouts():
    w, t, x = (make((30, 41), FP32, layout, s) for s, layout in enumerate(("cols", "rows", "cols")))
    check(w, t, x, make(30, FP32, "rows", 9), 0, 1.0)


def test_apply_decay_one_alone_changes_nothing():
    w = make((9, 70), BF16, "rows", 0)
    run_apply(w, None, None, None, 1, 1.0)
    w.assert_unchanged()


def test_apply_rounds_once_to_nearest_even():
    """Every bf16 rounding case: ties, carries into the exponent, overflow, NaN, infinities."""
    upper = np.arange(0, 1 << 16, 7, dtype=np.uint32)
    lower = np.array([0, 1, 0x7FFF, 0x8000, 0x8001, 0xFFFF], dtype=np.uint32)
    bits = ((upper[:, None] << 16) | lower[None, :]).reshape(-1)
    values = bits.view(np.float32)
    t = Buffer(values[None, :])
    w = Buffer(np.zeros((1, values.size)), BF16)
    run_apply(w, t, None, None, 1, 0.0)
    expected = to_bf16(values)
    expected = np.where(expected == 0x8000, 0, expected)  # 0 + -0 is +0
    np.testing.assert_array_equal(np.where(w.bits == 0x8000, 0, w.bits)[0], expected)
    assert from_bf16(np.uint16(0x3F80)) == 1.0


@pytest.mark.parametrize("layout", ["rows", "cols"])
def test_apply_threads(layout):
    runs = []
    for threads in (1, 2, 3):
        w, t, x = (make((210, 531), BF16, layout, seed) for seed in range(3))
        run_apply(w, t, x, make(531, FP32, "rows", 9), 1, 0.9, threads)
        runs.append(w.bits)
    np.testing.assert_array_equal(runs[0], runs[1])
    np.testing.assert_array_equal(runs[0], runs[2])
