"""adam: values against fp64, skipping, guard bands, threads."""

import numpy as np
import pytest
from native_cases import ADAM, adam_inputs, run_adam
from native_model import BF16, FP32, adam_core, assert_close, eta_of

SIZES = [1, 2, 3, 0, 13, 15, 16, 17, 63, 64, 65, 5461, 16384, 16385, 40009]
CODES = pytest.mark.parametrize("code", [FP32, BF16], ids=["fp32", "bf16"])


def check_against_model(inputs, before, code, options):
    for p, w in enumerate(before["W"]):
        m, v, n, m_size, n_size = adam_core(
            before["G"][p],
            before["exp_avg"][p],
            before["exp_avg_sq"][p],
            options["beta1"],
            options["beta2"],
            options["eps"],
        )
        step = float(before["step"][p]) + 1
        keys = ("lr", "beta1", "beta2", "correct_bias")
        eta = eta_of(step, *(options[key] for key in keys))
        moved = eta * options["update_scale"]
        expected = options["decay"] * w.astype(np.float64) - moved * n
        assert_close(inputs["exp_avg"][p].array, m, m_size, name="exp_avg")
        assert_close(inputs["exp_avg_sq"][p].array, v, v, name="exp_avg_sq")
        size = np.abs(w) + moved * n_size
        assert_close(inputs["W"][p].array, expected, size, code, name="W")
        assert inputs["step"][p].array == step


@CODES
@pytest.mark.parametrize("correct_bias", [True, False])
@pytest.mark.parametrize(("decay", "update_scale"), [(1.0, 1.0), (0.9, 0.9), (0.9, 1.0)])
def test_adam(code, correct_bias, decay, update_scale):
    inputs = adam_inputs(SIZES, code)
    before = {name: [b.array for b in buffers] for name, buffers in inputs.items()}
    changes = {"correct_bias": correct_bias, "decay": decay, "update_scale": update_scale}
    flags = run_adam(inputs, code, threads=2, **changes)
    assert flags == [False] * len(SIZES)
    check_against_model(inputs, before, code, {**ADAM, **changes})
    for buffers in inputs.values():
        for buffer in buffers:
            buffer.assert_guarded()
    for p, buffer in enumerate(inputs["skipped"]):
        assert buffer.array == p


def test_adam_first_step_moves_by_lr():
    inputs = adam_inputs([100], FP32)
    for name in ("exp_avg", "exp_avg_sq", "step", "W"):
        inputs[name][0]._matrix[...] = 0
    run_adam(inputs, FP32, eps=1e-20, decay=1.0, update_scale=1.0)
    expected = -ADAM["lr"] * np.sign(inputs["G"][0].array)
    np.testing.assert_allclose(inputs["W"][0].array, expected, rtol=1e-6)


@CODES
def test_adam_value_does_not_depend_on_position(code):
    """The same element gives the same bits in a vector's body and in its tail."""
    whole = adam_inputs([33], code)
    run_adam(whole, code)
    for n in range(1, 33):
        part = adam_inputs([33], code)
        run_adam(part, code, numel=[n])
        for name in ("W", "exp_avg", "exp_avg_sq"):
            got, want = part[name][0], whole[name][0]
            np.testing.assert_array_equal(got.bits[:, :n], want.bits[:, :n])
            np.testing.assert_array_equal(
                got._base[got._owned][n:], got._before[got._owned][n:], err_msg=name
            )


@CODES
@pytest.mark.parametrize("bad", [np.inf, -np.inf, np.nan])
@pytest.mark.parametrize("where", [0, 16384, 40008])
def test_adam_skips_nonfinite(code, bad, where):
    sizes = [7, 40009, 65]
    inputs = adam_inputs(sizes, code)
    poisoned = inputs["G"][1]
    poisoned._matrix[0, where] = (
        bad if code == FP32 else {np.inf: 0x7F80, -np.inf: 0xFF80}.get(bad, 0x7FC1)
    )
    healthy = adam_inputs(sizes, code)
    flags = run_adam(inputs, code, threads=2)
    run_adam(healthy, code, threads=1)
    assert flags == [False, True, False]
    for name in ("W", "exp_avg", "exp_avg_sq", "step"):
        inputs[name][1].assert_unchanged()
        for p in (0, 2):
            np.testing.assert_array_equal(inputs[name][p].bits, healthy[name][p].bits)
    assert [float(b.array) for b in inputs["skipped"]] == [0, 2, 2]


def test_adam_propagates_nonfinite_when_told():
    inputs = adam_inputs([40], FP32)
    inputs["G"][0]._matrix[0, 7] = np.nan
    assert run_adam(inputs, FP32, skip_nonfinite=False) == [False]
    assert np.flatnonzero(np.isnan(inputs["W"][0].array)).tolist() == [7]


@CODES
def test_adam_extreme_values(code):
    """The largest finite gradients are no reason to skip; bf16 rounding keeps NaN and ties."""
    inputs = adam_inputs([20], code)
    inputs["G"][0]._matrix[0, :4] = 0x7F7F if code == BF16 else np.finfo(np.float32).max
    assert run_adam(inputs, code) == [False]
    assert not np.isnan(inputs["W"][0].array).any()


def test_adam_empty_list():
    assert run_adam({name: [] for name in adam_inputs([], FP32)}, FP32) == []


@CODES
def test_adam_threads(code):
    sizes = [3, 200_003, 5461, 70_000, 1]
    runs = []
    for threads in (1, 2, 3):
        inputs = adam_inputs(sizes, code)
        run_adam(inputs, code, threads)
        runs.append([b.bits for name in ("W", "exp_avg", "exp_avg_sq") for b in inputs[name]])
    for other in runs[1:]:
        for got, want in zip(other, runs[0], strict=True):
            np.testing.assert_array_equal(got, want)
