"""Calls of the kernels on groups of vectors."""

import numpy as np

from subkern import _C

COLUMNS = 10  # of the state


def vectors_call(op, groups=2, n=5, m=3, threads=1):
    """The arguments of a good call, and the arrays behind them by name."""
    rng = np.random.default_rng(n)
    names = {
        "group_dot": "uv",
        "cg_start": "rb",
        "cg_step_residual": "rq",
        "cg_step_direction": "xpz",
        "cg_step": "xrpq",
        "combine": "z",
    }
    arrays = {name: rng.standard_normal((groups, n), dtype=np.float32) for name in names[op]}
    if op == "combine":
        arrays["V"] = rng.standard_normal((groups, m, n), dtype=np.float32)
        arrays["coefficients"] = rng.standard_normal((groups, m))
        arrays["out"] = np.full((groups, n), 7.0, dtype=np.float32)
    if op == "group_dot":
        arrays["dot"] = np.full(groups, 7.0)
    if op.startswith("cg_step"):
        state = arrays["state"] = np.ones((groups, COLUMNS))
        state[:, 6] = -1  # running
        state[:, 8] = np.linspace(0.0, 1.0, groups)  # alpha
    if op == "cg_start":
        arrays["state"] = np.full((groups, COLUMNS), 7.0)
        arrays["workspace"] = np.zeros(_C.cg_start_workspace(groups=groups, n=n) // 8)
    if op in ("cg_step_residual", "cg_step"):
        arrays["curvature"] = np.linspace(2.0, 3.0, groups)
    call = {"groups": groups, "n": n, "threads": threads} | ({"m": m} if op == "combine" else {})
    if op in ("group_dot", "cg_step_residual"):
        workspace = _C.group_dot_workspace if op == "group_dot" else _C.cg_step_workspace
        arrays["workspace"] = np.zeros(workspace(groups=groups, n=n) // 8)
    if op == "cg_step":
        arrays["workspace"] = np.zeros(_C.cg_step_workspace(groups=groups, n=n) // 8 + groups)
    if "workspace" in arrays:
        call["workspace_bytes"] = arrays["workspace"].nbytes
    if op == "cg_start":
        call |= {"rtol": 0.5, "atol": 0.25}
    return call | {name: array.ctypes.data for name, array in arrays.items()}, arrays


def vector_cases(threads):
    """What the kernels write, by name."""
    results = {}
    steps = ("cg_start", "cg_step_residual", "cg_step_direction", "cg_step")
    for op in ("group_dot", *steps, "combine"):
        for n in (1, 37, 40_009):
            call, arrays = vectors_call(op, 3, n, 6, threads)
            getattr(_C, op)(**call)
            results |= {f"{op}-{n}-{k}": v for k, v in arrays.items() if k != "workspace"}
    return results
