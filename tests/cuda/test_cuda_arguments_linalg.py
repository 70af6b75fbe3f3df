"""Bad arguments of the linear algebra kernels are refused by name, before anything is written."""

import pytest
import torch

SENTINEL = 77
SAMPLE = "sample_without_replacement"
COUNT, ROWS, COLS = 2, 5, 3
MATRICES = dict(dtype=0, count=COUNT, rows=ROWS, cols=COLS)
STRIDES = dict(row_stride=COLS, col_stride=1)

# Per binding: what it reads and what it may write (dtype and entries by name), numbers.
CALLS = {
    "orthonormalize": (
        {"Y": (torch.float32, 30)},
        {"Q": (torch.float32, 30), "R": (torch.float32, 18), "info": (torch.int32, 2)},
        MATRICES | STRIDES | dict(matrix_stride=ROWS * COLS),
    ),
    "orthonormalize_repair": (
        {"Y": (torch.float32, 30), "exponent": (torch.int32, 2), "first": (torch.int32, 2)},
        {
            "Q": (torch.float32, 30),
            "R": (torch.float64, 18),
            "column": (torch.float32, 10),
            "coefficients": (torch.float64, 6),
        },
        MATRICES | STRIDES | dict(matrix_stride=ROWS * COLS),
    ),
    "orthonormalize_cholesky": (
        {"G": (torch.float64, 18), "wanted": (torch.int32, 2)},
        {"R": (torch.float64, 18), "good": (torch.uint8, 2)},
        dict(threshold=1e-6, count=COUNT, cols=COLS),
    ),
    "svd_small": (
        {"A": (torch.float32, 30)},
        {
            "U": (torch.float32, 30),
            "S": (torch.float32, 6),
            "Vh": (torch.float32, 18),
            "info": (torch.int32, 2),
        },
        dict(dtype=0, batch=COUNT, m=ROWS, n=COLS, batch_stride=ROWS * COLS) | STRIDES,
    ),
    "eigh_small": (
        {"C": (torch.float32, 18)},
        {"w": (torch.float32, 6), "V": (torch.float32, 18), "info": (torch.int32, 2)},
        dict(dtype=0, batch=COUNT, n=COLS, batch_stride=COLS * COLS) | STRIDES,
    ),
    SAMPLE: (
        {"weights": (torch.float32, 18)},
        {"idx": (torch.int64, 6), "info": (torch.int32, 2)},
        dict(dtype=0, count=COUNT, n=9, k=3, row_stride=9, seed=1, offset=2, sorted=False),
    ),
    "scan": (
        {"X": (torch.float32, 30)},
        {"results": (torch.float64, 6)},
        dict(dtype=0, count=COUNT, n=ROWS * COLS, matrix_stride=ROWS * COLS),
    ),
    "group_dot": (
        {"u": (torch.float32, 5000), "v": (torch.float32, 5000)},
        {"dot": (torch.float64, 2)},
        dict(groups=COUNT, n=2500),
    ),
    "cg_step_residual": (
        {"q": (torch.float32, 5000), "curvature": (torch.float64, 2)},
        {"r": (torch.float32, 5000), "state": (torch.float64, 20)},
        dict(groups=COUNT, n=2500),
    ),
    "cg_step_direction": (
        {"z": (torch.float32, 10), "state": (torch.float64, 20)},
        {"x": (torch.float32, 10), "p": (torch.float32, 10)},
        dict(groups=COUNT, n=ROWS),
    ),
    "combine": (
        {"z": (torch.float32, 10), "V": (torch.float32, 30), "coefficients": (torch.float64, 6)},
        {"out": (torch.float32, 10)},
        dict(groups=COUNT, m=3, n=ROWS),
    ),
}
SUMS = ("group_dot", "cg_step_residual")  # blocks leave sums in a workspace
SIZES = {
    "orthonormalize": ("count", "rows", "cols"),
    "orthonormalize_repair": ("count", "rows", "cols"),
    "orthonormalize_cholesky": ("count", "cols"),
    "svd_small": ("m", "n"),
    "eigh_small": (),
    SAMPLE: (),
    "scan": ("count", "n"),
    "group_dot": ("groups", "n"),
    "cg_step_residual": ("groups", "n"),
    "cg_step_direction": ("groups", "n"),
    "combine": ("groups", "m", "n"),
}
BAD = [
    ("orthonormalize", dict(cols=6), "cols must be at least 1 and at most rows"),
    ("orthonormalize", dict(cols=0), "cols must be at least 1 and at most rows"),
    ("orthonormalize", dict(rows=2**58), "scratch_bytes must be at least"),
    ("orthonormalize", dict(rows=2**60), "cols must keep the matrix below"),
    ("orthonormalize", dict(scratch_bytes=-1), "scratch_bytes must be at least"),
    ("orthonormalize", dict(scratch=8), "scratch must be aligned to 16 bytes"),
    ("orthonormalize_repair", dict(cols=6), "cols must be at least 1 and at most rows"),
    ("orthonormalize_repair", dict(rows=2**60), "cols must keep the matrix below"),
    ("orthonormalize_cholesky", dict(cols=2**31), "cols must keep the matrix below"),
    ("svd_small", dict(m=1 << 21), "m must fit a kernel"),
    ("svd_small", dict(m=65, n=33), "m must fit a kernel"),
    ("svd_small", dict(m=33, n=65), "n must fit a kernel"),
    ("svd_small", dict(batch=-1), r"batch must be in \[0, 2\^31\)"),
    ("svd_small", dict(batch=1 << 31), r"batch must be in \[0, 2\^31\)"),
    ("eigh_small", dict(n=65), r"n must be in \[0, 64\]"),
    ("eigh_small", dict(n=-1), r"n must be in \[0, 64\]"),
    ("eigh_small", dict(batch=-1), r"batch must be in \[0, 2\^31\)"),
    ("eigh_small", dict(batch=1 << 31), r"batch must be in \[0, 2\^31\)"),
    (SAMPLE, dict(count=-1), r"count must be in \[0, 2\^31\)"),
    (SAMPLE, dict(count=2**31), r"count must be in \[0, 2\^31\)"),
    (SAMPLE, dict(n=2**31), r"n must be in \[0, 2\^31\)"),
    (SAMPLE, dict(k=-1), r"k must be in \[0, n\]"),
    (SAMPLE, dict(k=10), r"k must be in \[0, n\]"),
    (SAMPLE, dict(n=2**20), "scratch_bytes must be at least"),
    (SAMPLE, dict(n=2**20, scratch_bytes=2**40), "scratch must be the address"),
    (
        "sample_without_replacement",
        dict(sources=[(8, 3, 1, 0, 0, 0, 8)]),
        r"sources\[0\] must have elements",
    ),
    (SAMPLE, dict(sources=[(8, 4, -1, 0, 0, 0, 8)]), r"sources\[0\] must have a width"),
    (SAMPLE, dict(sources=[(0, 4, 1, 0, 0, 0, 8)]), r"sources\[0\] must be the address"),
    (SAMPLE, dict(sources=[(8, 4, 1, 0, 0, 0, 0)]), r"sources\[0\]'s result"),
    (
        "sample_without_replacement",
        dict(sources=[(8, 4, 1, 0, 0, 0, 8)] * 17),
        "sources must be at most 16",
    ),
    ("scan", dict(count=2, n=2**60), "n must keep the matrix below"),
    ("scan", dict(scratch_bytes=1), "scratch_bytes must be at least"),
    ("scan", dict(scratch=0), "scratch must be the address"),
    ("scan", dict(counters=0), "counters must be the address"),
    ("combine", dict(m=2**59), "n must keep the matrix below"),
    ("combine", dict(groups=2**59), "n must keep the matrix below"),
]
for op in ("group_dot", "cg_step_residual", "cg_step_direction", "combine"):
    BAD.append((op, dict(n=2**60), "n must keep the matrix below"))
    BAD.append((op, dict(groups=2**31), r"groups must be below 2\^31"))
for op in SUMS:
    BAD.append((op, dict(workspace_bytes=31), "workspace_bytes must be at least 32"))
    BAD += [(op, {name: 0}, f"{name} must be the address") for name in ("workspace", "counters")]
    BAD.append((op, dict(workspace=4), "workspace must be aligned to 8 bytes"))
for op, (inputs, outputs, numbers) in CALLS.items():
    BAD += [(op, {name: 0}, f"{name} must be the address") for name in inputs | outputs]
    BAD += [(op, {name: -1}, f"{name} must be zero or more") for name in SIZES[op]]
    BAD.append((op, dict(device=-1), "device must be zero or more"))
    if "dtype" in numbers:
        BAD += [(op, dict(dtype=code), "dtype must be 0") for code in (-1, 2)]


def prepared(kernels, op):
    """The arguments of a good call, and the tensors behind them by name."""
    inputs, outputs, numbers = CALLS[op]
    generator = torch.Generator().manual_seed(0)
    tensors = {}
    for name, (dtype, size) in inputs.items():
        values = torch.rand(size, generator=generator)
        values = values if dtype.is_floating_point else values.ceil()
        tensors[name] = values.to(kernels.device, dtype)
    for name, (dtype, size) in outputs.items():
        tensors[name] = torch.full((size,), SENTINEL, dtype=dtype, device=kernels.device)
    call = numbers | {name: t.data_ptr() for name, t in tensors.items()} | kernels.queue
    if op in ("orthonormalize", "scan"):
        tensors["scratch"] = torch.full((1 << 16,), SENTINEL, device=kernels.device)
        call |= dict(scratch=tensors["scratch"].data_ptr(), scratch_bytes=4 << 16)
    if op == SAMPLE:
        rows = torch.arange(36.0, device=kernels.device)
        tensors["rows"], tensors["gathered"] = rows, torch.full_like(rows[:12], SENTINEL)
        source = (rows.data_ptr(), 4, 2, 18, 2, 1, tensors["gathered"].data_ptr())
        call |= dict(sources=[source], scratch=0, scratch_bytes=0)
    if op in SUMS:
        tensors["workspace"] = torch.full(
            (4,), SENTINEL, dtype=torch.float64, device=kernels.device
        )
        call |= dict(workspace=tensors["workspace"].data_ptr(), workspace_bytes=32)
    if op == "scan" or op in SUMS:
        tensors["counters"] = torch.zeros(COUNT, dtype=torch.int32, device=kernels.device)
        call["counters"] = tensors["counters"].data_ptr()
    return call, tensors


@pytest.mark.parametrize("op", CALLS)
def test_the_call_itself_is_good(kernels, op):
    """Unchanged, the call that the rows below spoil writes its results."""
    call, tensors = prepared(kernels, op)
    before = kernels.module.call_counts()[op]
    getattr(kernels.module, op)(**call)
    assert kernels.module.call_counts()[op] == before + 1
    assert any((tensors[name] != SENTINEL).any() for name in CALLS[op][1])


@pytest.mark.parametrize(
    ("op", "changes", "message"),
    BAD,
    ids=[f"{op}-{'-'.join(f'{k}={v}' for k, v in c.items())}" for op, c, _ in BAD],
)
def test_arguments(kernels, op, changes, message):
    call, tensors = prepared(kernels, op)
    start = {name: t.clone() for name, t in tensors.items()}
    before = kernels.module.call_counts()
    with pytest.raises(ValueError, match=f"^{op}(_workspace)?: {message}.*, got "):
        getattr(kernels.module, op)(**call | changes)
    assert kernels.module.call_counts() == before
    for name, t in tensors.items():
        assert torch.equal(t, start[name]), name


@pytest.mark.parametrize("op", CALLS)
def test_wrong_kinds_are_type_errors(kernels, op):
    address = next(iter(CALLS[op][0]))
    for changes in ({address: -1}, {address: 1.5}, {"device": "first"}, {"unknown": 1}):
        with pytest.raises(TypeError):
            getattr(kernels.module, op)(**prepared(kernels, op)[0] | changes)


@pytest.mark.parametrize("op", ["group_dot", "cg_step"])
def test_workspace_of_sums(kernels, op):
    workspace = getattr(kernels.module, f"{op}_workspace")
    assert workspace(groups=3, n=2048) == workspace(groups=3, n=0) == workspace(groups=0, n=9) == 0
    assert workspace(groups=3, n=2049) == 3 * 2 * 8
    for bad in (dict(groups=-1), dict(n=-1), dict(n=2**60), dict(groups=2**31)):
        with pytest.raises(ValueError, match=f"^{op}_workspace: (groups|n) must .*, got "):
            workspace(**dict(groups=3, n=5) | bad)


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        (dict(count=-1), "count must be zero or more"),
        (dict(rows=-1), "rows must be zero or more"),
        (dict(cols=65, rows=70), "cols must be from 1 to 64"),
        (dict(cols=0), "cols must be from 1 to 64"),
    ],
)
def test_workspace(kernels, changes, message):
    call = dict(count=COUNT, rows=ROWS, cols=COLS, device=0)
    assert kernels.module.orthonormalize_workspace(**call) >= 0
    with pytest.raises(ValueError, match=f"^orthonormalize_workspace: {message}, got "):
        kernels.module.orthonormalize_workspace(**call | changes)
