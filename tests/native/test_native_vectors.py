"""Kernels on groups of vectors: bad arguments are refused by name before anything is written."""

import pytest
from vector_cases import vectors_call

from subkern import _C

ADDRESSES = {
    "group_dot": ("u", "v", "dot", "workspace"),
    "cg_start": ("r", "state", "workspace"),
    "cg_step_residual": ("r", "q", "curvature", "state", "workspace"),
    "cg_step_direction": ("x", "p", "z", "state"),
    "cg_step": ("x", "r", "p", "q", "state", "workspace"),
    "combine": ("z", "V", "coefficients", "out"),
}
BAD = [(op, {n: 0}, f"{n} must be the address") for op, names in ADDRESSES.items() for n in names]
for _op in ADDRESSES:
    BAD += [(_op, {name: -1}, f"{name} must be zero or more") for name in ("groups", "n")]
    BAD.append((_op, {"n": 2**60}, "n must keep the matrix below"))
    BAD.append((_op, {"threads": 0}, "threads must be at least 1"))
BAD += [
    ("group_dot", {"workspace_bytes": 15}, "workspace_bytes must be at least 16"),
    ("cg_start", {"workspace_bytes": 47}, "workspace_bytes must be at least 48"),
    ("cg_step_residual", {"workspace_bytes": 15}, "workspace_bytes must be at least 16"),
    ("cg_step", {"workspace_bytes": 31}, "workspace_bytes must be at least 32"),
    ("combine", {"m": -1}, "m must be zero or more"),
    ("combine", {"m": 2**59, "n": 2}, "n must keep the matrix below"),
]


@pytest.mark.parametrize(("op", "changes", "message"), BAD)
def test_arguments(op, changes, message):
    call, arrays = vectors_call(op)
    start = {name: array.tobytes() for name, array in arrays.items()}
    before = _C.call_counts()[op]
    with pytest.raises(ValueError, match=f"^{op}: {message}.*, got "):
        getattr(_C, op)(**call | changes)
    assert {name: array.tobytes() for name, array in arrays.items()} == start
    getattr(_C, op)(**call)
    assert {name: array.tobytes() for name, array in arrays.items()} != start
    assert _C.call_counts()[op] == before + 1


@pytest.mark.parametrize("op", ["group_dot", "cg_step"])
def test_workspace_arguments(op):
    workspace = getattr(_C, f"{op}_workspace")
    assert workspace(groups=3, n=0) == workspace(groups=0, n=9) == 0
    assert workspace(groups=3, n=16384) == 24
    assert workspace(groups=3, n=16385) == 48
    for bad in ({"groups": -1}, {"n": -1}, {"n": 2**60}):
        with pytest.raises(ValueError, match=f"^{op}_workspace: (groups|n) must .*, got "):
            workspace(**{"groups": 3, "n": 5, **bad})
