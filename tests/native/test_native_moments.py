"""lowrank_adam_moments: both rules, both sides, against fp64."""

import numpy as np
import pytest
from native_cases import ADAM, FIRA, moments_inputs, run_moments
from native_model import BF16, FP32, adam_core, assert_close, eta_of, fira_scales

GALORE, FIRA_RULE = 0, 1
SHAPES = [  # canonical k x q, rank
    (1, 1, 1),
    (2, 3, 1),
    (3, 2, 2),
    (13, 17, 7),
    (16, 63, 15),
    (64, 65, 16),
    (65, 64, 17),
    (40, 257, 33),
    (70, 5461, 2),
    (300, 40, 37),
    (4, 0, 2),
    (4, 5, 0),
]
IDS = [f"k{k}-q{q}-r{r}" for k, q, r in SHAPES]
CODES = pytest.mark.parametrize("code", [FP32, BF16], ids=["fp32", "bf16"])
AXES = pytest.mark.parametrize("axis", [1, 0], ids=["left", "right"])


def snapshot(chunk):
    return {name: [b.array for b in buffers] for name, buffers in chunk.items()}


def spread(coef, axis, shape, options):
    """One coefficient per element of R."""
    if options["matrix_norm"]:
        return np.full(shape, coef[0] if coef.size else 0.0)
    return np.broadcast_to(coef[None, :] if axis == 1 else coef[:, None], shape)


def check(chunk, before, axis, rule, a, scale, options):
    """Every buffer of every parameter against the fp64 model, and the guard bands."""
    fira = rule == FIRA_RULE and not options["skip_residual"]
    for p, r in enumerate(before["R"]):
        r = r.astype(np.float64)
        moments = (before[name][p] for name in ("exp_avg", "exp_avg_sq"))
        m, v, n, m_size, n_size = adam_core(
            r, *moments, options["beta1"], options["beta2"], options["eps"]
        )
        step = float(before["step"][p]) + 1
        keys = ("lr", "beta1", "beta2", "correct_bias")
        eta = eta_of(step, *(options[key] for key in keys)) * options["update_scale"]
        code = chunk["R"][p].code
        expected, size = -eta * scale * n, eta * scale * n_size
        limiter, units = before["limiter"][p], 8
        coef = np.zeros(chunk["coef"][p].array.size)
        coef_size = coef
        if fira:
            keys = ("gamma", "norm_eps", "matrix_norm")
            previous = float(before["limiter"][p])
            coef, limiter = fira_scales(
                n, r, before["norms"][p], axis, previous, eta, a, *(options[key] for key in keys)
            )
            # M may cancel, and phi = |N_j| / |R_j| inherits N's error, not its size.
            summed = None if options["matrix_norm"] else (0 if axis == 1 else 1)
            norm, norm_size = (np.sqrt(np.sum(t**2, axis=summed)) for t in (n, n_size))
            grown = np.divide(norm_size, norm, out=np.ones_like(norm), where=norm > 0)
            coef_size = np.abs(coef) * grown
            expected = expected - a * spread(coef, axis, r.shape, options) * r
            # Norms and limiter round as well.
            size, units = size + np.abs(a * spread(coef_size, axis, r.shape, options) * r), 64
        assert_close(chunk["exp_avg"][p].array, m, m_size, name="exp_avg")
        assert_close(chunk["exp_avg_sq"][p].array, v, v, name="exp_avg_sq")
        assert_close(chunk["R"][p].array, expected, size, code, units, name="R")
        assert chunk["step"][p].array == step
        if rule == FIRA_RULE:
            assert_close(chunk["coef"][p].array, coef, coef_size, units=64, name="coef")
            # The residual energy loses up to three digits before it counts as zero.
            np.testing.assert_allclose(chunk["limiter"][p].array, limiter, rtol=2e-5, atol=1e-30)
        chunk["norms"][p].assert_unchanged()
    for buffers in chunk.values():
        for buffer in buffers:
            buffer.assert_guarded()


@CODES
@AXES
@pytest.mark.parametrize("shape", SHAPES, ids=IDS)
def test_moments_galore(shape, axis, code):
    chunk = moments_inputs(2, *shape, axis, code)
    before = snapshot(chunk)
    assert run_moments(chunk, axis, GALORE, threads=2) == [False, False]
    check(chunk, before, axis, GALORE, 1.0, 0.25, {**ADAM, **FIRA})
    for name in ("norms", "limiter", "coef"):
        chunk[name][0].assert_unchanged()


@CODES
@AXES
@pytest.mark.parametrize("shape", SHAPES, ids=IDS)
def test_moments_fira(shape, axis, code):
    a = 0.25
    chunk = moments_inputs(2, *shape, axis, code)
    before = snapshot(chunk)
    assert run_moments(chunk, axis, FIRA_RULE, a=a, threads=2) == [False, False]
    check(chunk, before, axis, FIRA_RULE, a, 0.25, {**ADAM, **FIRA})


@AXES
@pytest.mark.parametrize("limiter", [1e-3, 1e6], ids=["fires", "rests"])
@pytest.mark.parametrize("matrix_norm", [False, True], ids=["column", "matrix"])
@pytest.mark.parametrize("correct_bias", [True, False])
def test_moments_fira_limiter(axis, limiter, matrix_norm, correct_bias):
    chunk = moments_inputs(3, 24, 67, 8, axis, FP32, limiter=limiter)
    before = snapshot(chunk)
    changes = {"matrix_norm": matrix_norm, "correct_bias": correct_bias, "update_scale": 1.0}
    run_moments(chunk, axis, FIRA_RULE, threads=2, **changes)
    check(chunk, before, axis, FIRA_RULE, 1.0, 0.25, {**ADAM, **FIRA, **changes})


@AXES
def test_moments_fira_full(axis):
    """R may have fewer canonical columns than X when one phi serves the whole matrix."""
    chunk = moments_inputs(2, 30, 47, 9, axis, FP32)
    square = moments_inputs(2, 30, 9, 9, axis, FP32)
    for name in ("R", "exp_avg", "exp_avg_sq"):
        chunk[name] = square[name]
    before = snapshot(chunk)
    changes = {"matrix_norm": True}
    run_moments(chunk, axis, FIRA_RULE, a=0.5, **changes)
    check(chunk, before, axis, FIRA_RULE, 0.5, 0.25, {**ADAM, **FIRA, **changes})


@AXES
def test_moments_fira_skip_residual(axis):
    chunk = moments_inputs(2, 9, 40, 9, axis, FP32, limiter=3.0)
    before = snapshot(chunk)
    changes = {"skip_residual": True, "workspace": 0, "workspace_floats": 0}
    run_moments(chunk, axis, FIRA_RULE, **changes)
    check(chunk, before, axis, FIRA_RULE, 1.0, 0.25, {**ADAM, **FIRA, **changes})


@AXES
def test_moments_fira_round_off_residual_is_zero(axis):
    """With a full basis and a = 1 the residual is round-off and must count as nothing."""
    chunk = moments_inputs(1, 12, 40, 12, axis, FP32)
    run_moments(chunk, axis, FIRA_RULE)
    assert chunk["limiter"][0].array == 0


@AXES
def test_moments_fira_zero_columns(axis):
    chunk = moments_inputs(1, 12, 40, 5, axis, FP32)
    zero_r = chunk["R"][0]._matrix if axis == 1 else chunk["R"][0]._matrix.T
    zero_r[:, 3] = 0
    before = snapshot(chunk)
    run_moments(chunk, axis, FIRA_RULE)
    check(chunk, before, axis, FIRA_RULE, 1.0, 0.25, {**ADAM, **FIRA})
    assert chunk["coef"][0].array[3] == 0


@CODES
@AXES
@pytest.mark.parametrize("rule", [GALORE, FIRA_RULE])
def test_moments_skip_nonfinite(axis, rule, code):
    chunk, healthy = (moments_inputs(3, 20, 301, 6, axis, code) for _ in range(2))
    chunk["R"][1]._matrix[-1, -1] = np.inf if code == FP32 else 0xFF80
    poisoned = chunk["R"][1].bits
    assert run_moments(chunk, axis, rule, threads=2) == [False, True, False]
    run_moments(healthy, axis, rule, threads=1)
    np.testing.assert_array_equal(chunk["R"][1].bits, poisoned)
    for name in ("exp_avg", "exp_avg_sq", "step", "limiter", "coef"):
        chunk[name][1].assert_unchanged()
        for p in (0, 2):
            np.testing.assert_array_equal(chunk[name][p].bits, healthy[name][p].bits)
    assert [float(b.array) for b in chunk["skipped"]] == [0, 1, 0]


@AXES
@pytest.mark.parametrize("rule", [GALORE, FIRA_RULE])
def test_moments_propagate_nonfinite_when_told(axis, rule):
    chunk = moments_inputs(1, 20, 30, 6, axis, FP32, limiter=0.5)
    chunk["R"][0]._matrix[2, 3] = np.nan
    assert run_moments(chunk, axis, rule, skip_nonfinite=False) == [False]
    assert np.isnan(chunk["R"][0].array).all() == (rule == FIRA_RULE)
    if rule == FIRA_RULE:
        assert np.isnan(chunk["limiter"][0].array)


@CODES
@AXES
@pytest.mark.parametrize("rule", [GALORE, FIRA_RULE])
def test_moments_threads(axis, rule, code):
    runs = []
    for threads in (1, 2, 3):
        chunk = moments_inputs(4, 64, 1100, 40, axis, code, limiter=0.5)
        run_moments(chunk, axis, rule, threads=threads)
        runs.append(chunk)
    for other in runs[1:]:
        for name, buffers in other.items():
            for got, want in zip(buffers, runs[0][name], strict=True):
                np.testing.assert_array_equal(got.bits, want.bits, err_msg=name)


def test_moments_of_a_chunk_equal_one_by_one():
    together = moments_inputs(3, 40, 600, 30, 1, FP32)
    run_moments(together, 1, FIRA_RULE, threads=2)
    alone = moments_inputs(3, 40, 600, 30, 1, FP32)
    for p in range(3):
        run_moments({name: [b[p]] for name, b in alone.items()}, 1, FIRA_RULE)
    for name, buffers in alone.items():
        for got, want in zip(buffers, together[name], strict=True):
            np.testing.assert_array_equal(got.bits, want.bits, err_msg=name)
