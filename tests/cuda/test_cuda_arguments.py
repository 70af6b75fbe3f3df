"""Bad arguments are refused by name before anything is launched or written."""

import pytest
import torch
from adam_cases import arguments, inputs
from moments_cases import SCRATCH, SENTINEL, STATE, Case

ADAM_BAD = [
    ({"w_dtype": 2}, "w_dtype must be 0"),
    ({"numel": [5, -1]}, "numel must be zero or more"),
    ({"numel": [5]}, "numel must have one entry per parameter"),
    ({"G": [16]}, "G must have one entry per parameter"),
    ({"G": [0, 16]}, "G must be the address"),
    ({"exp_avg": [16, 0]}, "exp_avg must be the address"),
    ({"exp_avg_sq": []}, "exp_avg_sq must have one entry"),
    ({"step": [0, 16]}, r"step\[0\] must be the address"),
    ({"skipped": []}, "skipped must have one entry"),
    ({"scratch": 0}, "scratch must be the address"),
    ({"scratch_bytes": 15}, "scratch_bytes must be at least 16"),
    ({"device": -1}, "device must be zero or more"),
]
MOMENTS_BAD = [
    ({"rows": -1}, "rows must be zero or more"),
    ({"rows": 0}, "rows must be at least 1"),
    ({"cols": 0}, "cols must be at least 1"),
    ({"cols": 2**62}, "cols must keep the matrix below"),
    ({"ld": 9}, "ld must be a multiple of 4 and at least cols"),
    ({"ld": 18}, "ld must be a multiple of 4"),
    ({"column_axis": 2}, "column_axis must be 0 or 1"),
    ({"dtype": 7}, "dtype must be 0"),
    ({"rule": 2}, "rule must be 0"),
    ({"exp_avg": [0]}, r"exp_avg\[0\] must be the address"),
    ({"exp_avg_sq": []}, "exp_avg_sq must have one entry"),
    ({"step": [0]}, r"step\[0\] must be the address"),
    ({"limiter": []}, "limiter must have one entry"),
    ({"partials": 0}, "partials must be the address"),
    ({"partials": 8}, "partials must be aligned to 16 bytes"),
    ({"direction": 0}, "direction must be the address"),
    ({"direction": 8}, "direction must be aligned to 16 bytes"),
    ({"lowrank": 0}, "lowrank must be the address"),
    ({"lowrank": 24}, "lowrank must be aligned to 16 bytes"),
    ({"scalars": 0}, "scalars must be the address"),
    ({"slices": 0}, "slices must be at least 1"),
    ({"tiles": -1}, "tiles must be zero or more"),
    ({"tile_flags": 0}, "tile_flags must be the address"),
    ({"squares": 0}, "squares must be the address"),
    ({"square_slices": 0}, "square_slices must be at least 1"),
    ({"columns": 11}, "columns must equal"),
    ({"columns": 0, "matrix_norm": True}, "columns must be at least 1"),
    ({"counters": 0}, "counters must be the address"),
    ({"phi": 0}, "phi must be the address"),
    ({"block_sums": 0}, "block_sums must be the address"),
    ({"block_sums_floats": 1}, "block_sums_floats must be at least 2"),
    ({"gamma": 0.0}, "gamma must be positive"),
    ({"device": -2}, "device must be zero or more"),
]


def names(value):
    return "-".join(value) if isinstance(value, dict) else ""


@pytest.mark.parametrize(("changes", "message"), ADAM_BAD, ids=names)
def test_adam_arguments(kernels, changes, message):
    lists = inputs([5, 6], torch.float32, kernels.device)
    start = {name: [t.clone() for t in tensors] for name, tensors in lists.items()}
    counts = kernels.module.call_counts()
    call, _scratch = arguments(kernels, lists, **changes)
    with pytest.raises(ValueError, match=f"^adam: {message}.*, got "):
        kernels.module.adam(**call)
    for name, tensors in lists.items():
        for i, t in enumerate(tensors):
            assert torch.equal(t, start[name][i]), name
    assert kernels.module.call_counts() == counts


@pytest.mark.parametrize(("changes", "message"), MOMENTS_BAD, ids=names)
def test_moments_arguments(kernels, changes, message):
    case = Case(6, 10)
    made, start = case.inputs(kernels.device), case.inputs(kernels.device)
    call, _sums = case.arguments(kernels, made, **changes)
    with pytest.raises(ValueError, match=f"^lowrank_adam_moments: {message}.*, got "):
        kernels.module.lowrank_adam_moments(**call)
    for name in STATE:
        assert torch.equal(made[name][0], start[name][0]), name
    assert all((made[name] == SENTINEL).all() for name in SCRATCH)


def test_galore_ignores_fira_arguments(kernels):
    case = Case(6, 10, fira=False)
    made = case.inputs(kernels.device)
    nothing = dict(limiter=[], lowrank=0, squares=0, square_slices=0, columns=-1, counters=0)
    case.run(kernels, made, **nothing, phi=0, block_sums=0, block_sums_floats=0, gamma=0.0)
    case.check(made, case.inputs(kernels.device))


def test_no_flags_needed_where_none_are_read(kernels):
    case = Case(6, 10)
    made = case.inputs(kernels.device)
    case.run(kernels, made, skip_nonfinite=False, tile_flags=0)
    case.check(made, case.inputs(kernels.device))


def test_workspaces(kernels):
    module, most = kernels.module, kernels.module.adam_tensors_per_launch
    assert module.adam_workspace(numel=[]) == 0
    assert module.adam_workspace(numel=[0, 1, 5]) == 3 * 2 * 4
    assert module.adam_workspace(numel=[32768 * 3]) == 4 * 4
    assert module.adam_workspace(numel=[1] * (most + 9)) == most * 2 * 4
    assert module.adam_workspace(numel=[1 << 40]) <= 1025 * 4
    with pytest.raises(ValueError, match=r"^adam_workspace: numel must be zero or more, got -1"):
        module.adam_workspace(numel=[3, -1])
    good = {"count": 2, "rows": 100, "cols": 65, "column_axis": 1, "rule": 1}
    assert module.lowrank_adam_block_sums(**good) == 2 * 2 * 3
    assert module.lowrank_adam_block_sums(**{**good, "column_axis": 0}) == 2 * 2 * 4
    assert module.lowrank_adam_block_sums(**{**good, "rule": 0}) == 0
    for name, value in {"count": -1, "rows": -2, "cols": -2, "column_axis": 5, "rule": 3}.items():
        with pytest.raises(ValueError, match=f"^lowrank_adam_block_sums: {name} must .*, got "):
            module.lowrank_adam_block_sums(**{**good, name: value})


def test_wrong_kinds_are_type_errors(kernels):
    lists = inputs([5], torch.float32, kernels.device)
    for changes in ({"W": [-1]}, {"W": [1.5]}, {"lr": "fast"}, {"numel": None}, {"unknown": 1}):
        call, _scratch = arguments(kernels, lists, **changes)
        with pytest.raises(TypeError):
            kernels.module.adam(**call)


def test_a_device_that_is_not_there():
    """The real module, with or without a driver: an error that names the op."""
    module = pytest.importorskip("subkern._CUDA", reason="subkern._CUDA is not built")
    lists = inputs([5], torch.float32, torch.device("cpu"))
    call = {name: [t.data_ptr() for t in tensors] for name, tensors in lists.items()}
    scratch = torch.zeros(8, dtype=torch.int32)
    call |= dict(numel=[5], w_dtype=0, scratch=scratch.data_ptr(), scratch_bytes=32)
    options = dict(lr=0.1, lr_address=0, beta1=0.9, beta2=0.99, eps=1e-3, weight_decay=0.0)
    flags = dict(post_decay=True, correct_bias=True, skip_nonfinite=True)
    with pytest.raises(RuntimeError, match=r"^adam: CUDA error \d+, \w+"):
        module.adam(**call, **options, **flags, device=module.device_count() + 7, stream=0)


def test_module_says_what_it_is(kernels):
    assert kernels.module.emulated == (kernels.device.type == "cpu")
    assert kernels.module.device_count() >= 1
    counted = {"adam_scan", "adam_apply", "lowrank_adam_moments", "orthonormalize", "svd_small"}
    assert counted <= set(kernels.module.call_counts())
