"""Bad arguments are refused by name before anything is written; counters count completed calls."""

import numpy as np
import pytest
from native_cases import (
    ADAM,
    adam_inputs,
    moments_arguments,
    moments_inputs,
    product_inputs,
    run_adam,
    run_apply,
    run_moments,
    run_project,
    run_update,
)
from native_model import FP32, Buffer

from subkern import _C

ADAM_BAD = [
    ({"w_dtype": 2}, "w_dtype must be 0"),
    ({"threads": 0}, "threads must be at least 1"),
    ({"numel": [5, -1]}, "numel must be zero or more"),
    ({"numel": [5]}, "numel must have one entry per parameter"),
    ({"G": [1]}, "G must have one entry per parameter"),
    ({"G": [0, 1]}, r"G\[0\] must be the address|G must be the address"),
    ({"step": [0, 1]}, r"step\[0\] must be the address"),
    ({"skipped": []}, "skipped must have one entry"),
    ({"exp_avg": [1, 0]}, "exp_avg.* must be the address"),
]
MOMENTS_BAD = [
    ({"rows": -1}, "rows must be zero or more"),
    ({"cols": 2**62}, "cols must keep the matrix below"),
    ({"column_axis": 2}, "column_axis must be 0 or 1"),
    ({"r_dtype": 7}, "r_dtype must be 0"),
    ({"rule": 2}, "rule must be 0"),
    ({"columns": 11}, "columns must equal"),
    ({"columns": -1}, "columns must be zero or more"),
    ({"norms": []}, "norms must have one entry"),
    ({"norms": [0]}, r"norms\[0\] must be the address"),
    ({"R": [0]}, r"R\[0\] must be the address"),
    ({"limiter": [0]}, r"limiter\[0\] must be the address"),
    ({"coef": []}, "coef must have one entry"),
    ({"gamma": 0.0}, "gamma must be positive"),
    ({"workspace": 0}, "workspace must be the address"),
    ({"workspace_floats": 1}, "workspace_floats must be at least"),
    ({"threads": -3}, "threads must be at least 1"),
]


@pytest.mark.parametrize(("changes", "message"), ADAM_BAD, ids=lambda c: next(iter(c), c)[:12])
def test_adam_arguments(changes, message):
    inputs = adam_inputs([5, 6], FP32)
    with pytest.raises(ValueError, match=f"^adam: ({message}).*, got "):
        run_adam(inputs, FP32, **changes)
    for buffers in inputs.values():
        for buffer in buffers:
            buffer.assert_unchanged()


@pytest.mark.parametrize(("changes", "message"), MOMENTS_BAD, ids=lambda c: next(iter(c), c)[:12])
def test_moments_arguments(changes, message):
    chunk = moments_inputs(1, 6, 10, 3, 1, FP32)
    arguments, _scratch = moments_arguments(chunk, 1, 1)
    with pytest.raises(ValueError, match=f"^lowrank_adam_moments: {message}.*, got "):
        _C.lowrank_adam_moments(**{**arguments, **changes})
    for buffers in chunk.values():
        buffers[0].assert_unchanged()


def test_moments_galore_ignores_fira_arguments():
    chunk = moments_inputs(1, 6, 10, 3, 1, FP32)
    nothing = {"norms": [], "limiter": [], "coef": [], "columns": -1, "gamma": 0.0}
    assert run_moments(chunk, 1, 0, **nothing, workspace=0, workspace_floats=0) == [False]


@pytest.mark.parametrize(
    "changes",
    [{"count": -1}, {"rule": 3}, {"column_axis": 5}, {"rows": -2}, {"cols": -2}],
    ids=str,
)
def test_workspace_arguments(changes):
    good = {"count": 2, "rows": 3, "cols": 5, "column_axis": 1, "rule": 1}
    assert _C.lowrank_adam_workspace(**good) == 2 * 2 * 5
    assert _C.lowrank_adam_workspace(**{**good, "rule": 0}) == 0
    assert _C.lowrank_adam_workspace(**{**good, "column_axis": 0}) == 2 * 2 * 3
    with pytest.raises(ValueError, match=r"^lowrank_adam_workspace: "):
        _C.lowrank_adam_workspace(**{**good, **changes})


def test_apply_arguments():
    w = Buffer(np.ones((2, 3)))
    good = {
        **{"W": w.address, "w_dtype": 0, "w_row_stride": 3, "w_col_stride": 1},
        **{"T": 0, "t_dtype": 0, "t_row_stride": 0, "t_col_stride": 0},
        **{"X": 0, "x_dtype": 0, "x_row_stride": 0, "x_col_stride": 0},
        **{"coef": 0, "coef_axis": 0, "rows": 2, "cols": 3, "decay": 1.0, "threads": 1},
    }
    bad = {"W": 0, "w_dtype": 5, "t_dtype": 5, "x_dtype": -1, "coef_axis": 2, "rows": -1}
    for name, value in {**bad, "threads": 0}.items():
        with pytest.raises(ValueError, match=f"^lowrank_adam_apply: {name} must .*, got {value}$"):
            _C.lowrank_adam_apply(**{**good, name: value})
    w.assert_unchanged()


PRODUCT_BAD = {
    "rows": -1,
    "cols": -1,
    "rank": -1,
    "column_axis": 2,
    "p_dtype": 7,
    "x_dtype": -1,
    "threads": 0,
    "workspace": 0,
    "workspace_floats": 3,
    "P": 0,
}


@pytest.mark.parametrize("name", [*PRODUCT_BAD, "X", "R"])
def test_project_arguments(name):
    x, _, p, r, norms, _, _ = product_inputs(6, 10, 3, 1, FP32)
    value = PRODUCT_BAD.get(name, 0)
    with pytest.raises(ValueError, match=f"^lowrank_project: {name} must .*, got {value}$"):
        run_project(x, p, r, norms, 1, **{name: value})
    for buffer in (x, p, r, norms):
        buffer.assert_unchanged()


@pytest.mark.parametrize("name", [*PRODUCT_BAD, "w_dtype", "W", "D"])
def test_update_arguments(name):
    x, w, p, _, _, d, coef = product_inputs(6, 10, 3, 1, FP32)
    value = {**PRODUCT_BAD, "w_dtype": 2}.get(name, 0)
    with pytest.raises(ValueError, match=f"^lowrank_update: {name} must .*, got {value}$"):
        run_update(w, p, d, x, coef, 1, 0.9, **{name: value})
    with pytest.raises(ValueError, match=r"^lowrank_update: coef must be the address .*, got 0$"):
        run_update(w, p, d, x, None, 1, 0.9)
    for buffer in (x, w, p, d, coef):
        buffer.assert_unchanged()


@pytest.mark.parametrize("name", ["rows", "cols", "rank", "column_axis", "threads"])
def test_product_workspace_arguments(name):
    good = {"rows": 6, "cols": 10, "rank": 3, "column_axis": 1, "threads": 2}
    assert _C.lowrank_product_workspace(**good) > 0
    message = f"^lowrank_product_workspace: {name} must .*, got {PRODUCT_BAD[name]}$"
    with pytest.raises(ValueError, match=message):
        _C.lowrank_product_workspace(**{**good, name: PRODUCT_BAD[name]})


def test_wrong_kinds_are_type_errors():
    inputs = adam_inputs([5], FP32)
    for changes in ({"W": [-1]}, {"W": [1.5]}, {"lr": "fast"}, {"numel": None}, {"unknown": 1}):
        with pytest.raises(TypeError):
            run_adam(inputs, FP32, **changes)
    with pytest.raises(TypeError):
        _C.adam(*ADAM)


def test_call_counts():
    before = _C.call_counts()
    assert set(before) == {
        "lowrank_adam_moments",
        "lowrank_adam_apply",
        "lowrank_project",
        "lowrank_update",
        "adam",
        "cg_start",
        "cg_step",
        "cg_step_direction",
        "cg_step_residual",
        "combine",
        "eigh_small",
        "gram",
        "group_dot",
        "kth_largest",
        "orthonormalize",
        "packed_adamw",
        "sample_without_replacement",
        "scan",
        "sense_normal",
        "sense_pack",
        "sense_solve",
        "sst_adamw",
        "svd_small",
        "update_mask",
    }
    run_adam(adam_inputs([5], FP32), FP32)
    run_moments(moments_inputs(1, 6, 10, 3, 1, FP32), 1, 0)
    run_apply(Buffer(np.ones((2, 3))), None, None, None, 1, 1.0)
    x, w, p, r, norms, d, coef = product_inputs(6, 10, 3, 1, FP32)
    run_project(x, p, r, norms, 1)
    for _ in range(2):
        run_update(w, p, d, x, coef, 1, 0.9)
    with pytest.raises(ValueError, match="threads"):
        run_adam(adam_inputs([5], FP32), FP32, threads=0)
    grown = {name: count - before[name] for name, count in _C.call_counts().items()}
    assert {name: count for name, count in grown.items() if count} == {
        "lowrank_adam_moments": 1,
        "lowrank_adam_apply": 1,
        "adam": 1,
        "lowrank_project": 1,
        "lowrank_update": 2,
    }
