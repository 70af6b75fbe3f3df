"""Ready calls of every kernel on small seeded inputs.

Run as a script with an output path and a thread count it writes the results of all cases to an
npz file: that is how another instruction set is tried, in its own process.
"""

import sys

import numpy as np
from native_model import BF16, FP32, Buffer

from subkern import _C

ADAM = {
    "lr": 1e-2,
    "beta1": 0.9,
    "beta2": 0.999,
    "eps": 1e-6,
    "decay": 0.99,
    "update_scale": 0.99,
    "correct_bias": True,
    "skip_nonfinite": True,
}
FIRA = {"gamma": 1.01, "norm_eps": 1e-8, "matrix_norm": False, "skip_residual": False}


def adam_inputs(sizes, code, seed=0):
    """Buffers of an adam call for tensors of the given sizes."""
    rng = np.random.default_rng(seed)
    return {
        "W": [Buffer(rng.standard_normal(n), code) for n in sizes],
        "G": [Buffer(rng.standard_normal(n), code) for n in sizes],
        "exp_avg": [Buffer(rng.standard_normal(n) * 0.1) for n in sizes],
        "exp_avg_sq": [Buffer(rng.random(n) * 0.1) for n in sizes],
        "step": [Buffer(float(3 + p)) for p in range(len(sizes))],
        "skipped": [Buffer(float(p)) for p in range(len(sizes))],
    }


def run_adam(inputs, code, threads=1, **changes):
    """Calls the kernel on the buffers; returns its flags."""
    addresses = {name: [b.address for b in buffers] for name, buffers in inputs.items()}
    numel = [b.array.size for b in inputs["W"]]
    arguments = {**addresses, "numel": numel, "w_dtype": code, "threads": threads, **ADAM}
    return _C.adam(**{**arguments, **changes})


def moments_inputs(count, k, q, rank, axis, code, layout="rows", a=1.0, seed=0, limiter=0.0):
    """Buffers of a chunk: X = k x q in canonical form, R = basis^T X."""
    rng = np.random.default_rng(seed)
    chunk = {
        name: []
        for name in ("R", "exp_avg", "exp_avg_sq", "step", "skipped", "X", "limiter", "coef")
    }
    for p in range(count):
        x = rng.standard_normal((k, q)) * np.exp(rng.standard_normal(q))
        basis = np.linalg.qr(rng.standard_normal((k, max(rank, 1))))[0][:, :rank]
        x_buffer = Buffer(x if axis == 1 else x.T, code, layout)
        stored = x_buffer.array if axis == 1 else x_buffer.array.T
        r = basis.T @ stored
        r = r if axis == 1 else r.T
        chunk["R"].append(Buffer(r, code))
        chunk["exp_avg"].append(Buffer(rng.standard_normal(r.shape) * 0.1))
        chunk["exp_avg_sq"].append(Buffer(rng.random(r.shape) * 0.1))
        chunk["step"].append(Buffer(float(5 + p)))
        chunk["skipped"].append(Buffer(0.0))
        chunk["X"].append(x_buffer)
        chunk["limiter"].append(Buffer(limiter))
        chunk["coef"].append(Buffer(np.full(q, np.nan)))
    return chunk


def moments_arguments(chunk, axis, rule, a=1.0, scale=0.25, threads=1, **changes):
    """Keyword arguments of lowrank_adam_moments for the buffers, and the scratch to keep alive."""
    r, x = chunk["R"][0], chunk["X"][0]
    shape = {"rows": r.array.shape[0], "cols": r.array.shape[1], "column_axis": axis}
    x_shape = {"x_rows": x.array.shape[0], "x_cols": x.array.shape[1]}
    floats = _C.lowrank_adam_workspace(count=len(chunk["R"]), rule=rule, **shape, **x_shape)
    scratch = Buffer(np.full(floats, np.nan))
    arguments = {
        **{name: [b.address for b in buffers] for name, buffers in chunk.items()},
        **shape,
        **x_shape,
        "r_dtype": r.code,
        "x_dtype": x.code,
        "x_row_stride": x.row_stride,
        "x_col_stride": x.col_stride,
        "rule": rule,
        "scale": scale,
        "residual_scale": a,
        "workspace": scratch.address,
        "workspace_floats": floats,
        "threads": threads,
        **ADAM,
        **FIRA,
    }
    return {**arguments, **changes}, scratch


def run_moments(chunk, axis, rule, **changes):
    """Calls the kernel on the chunk; returns its flags."""
    arguments, scratch = moments_arguments(chunk, axis, rule, **changes)
    flags = _C.lowrank_adam_moments(**arguments)
    scratch.assert_guarded()
    return flags


def run_apply(w, t, x, coef, axis, decay, threads=1):
    """Calls the epilogue kernel; t, x and coef may be None."""
    absent = {"t": (t, 0), "x": (x, 0)}
    arguments = {"W": w.address, "w_dtype": w.code, **w.strides("w")}
    for name, (buffer, nothing) in absent.items():
        arguments[name.upper()] = buffer.address if buffer else nothing
        arguments[f"{name}_dtype"] = buffer.code if buffer else FP32
        strides = buffer.strides(name) if buffer else Buffer([0.0]).strides(name)
        arguments.update(strides)
    rows, cols = w.array.shape
    _C.lowrank_adam_apply(
        **arguments,
        coef=coef.address if coef else 0,
        coef_axis=axis,
        rows=rows,
        cols=cols,
        decay=decay,
        threads=threads,
    )


def run_gemm(a, b, c, beta, threads=1):
    """C = beta C + A B on buffers."""
    (m, k), n = a.array.shape, b.array.shape[1]
    _C.gemm(
        A=a.address,
        **a.strides("a"),
        B=b.address,
        **b.strides("b"),
        C=c.address,
        c_row_stride=c.row_stride,
        m=m,
        n=n,
        k=k,
        beta=beta,
        threads=threads,
    )


def all_cases(threads):
    """Results of one call per kernel and configuration, as raw bits by name."""
    results = {}
    for code in (FP32, BF16):
        inputs = adam_inputs([1, 0, 17, 5461, 50000], code)
        run_adam(inputs, code, threads)
        for name in ("W", "exp_avg", "exp_avg_sq"):
            for p, buffer in enumerate(inputs[name]):
                results[f"adam-{name}-{p}-{code}"] = buffer.array
        for axis in (0, 1):
            for rule in (0, 1):
                for layout in ("rows", "cols"):
                    chunk = moments_inputs(3, 40, 1031, 19, axis, code, layout, limiter=0.05)
                    run_moments(chunk, axis, rule, threads=threads)
                    for name in ("R", "exp_avg", "exp_avg_sq", "limiter", "coef"):
                        key = f"moments-{name}-{axis}-{rule}-{layout}-{code}"
                        results[key] = np.stack([b.array for b in chunk[name]])
        rng = np.random.default_rng(1)
        w, t, x = (Buffer(rng.standard_normal((130, 517)), code) for _ in range(3))
        run_apply(w, t, x, Buffer(rng.standard_normal(517)), 1, 0.9, threads)
        results[f"apply-{code}"] = w.array
    for m, n, k in ((1, 3001, 300), (2, 700, 513), (1500, 1, 300), (100, 300, 600)):
        for layout in ("rows", "cols"):
            rng = np.random.default_rng(2)
            a = Buffer(rng.standard_normal((m, k)), layout=layout)
            b = Buffer(rng.standard_normal((k, n)), layout=layout)
            c = Buffer(rng.standard_normal((m, n)))
            run_gemm(a, b, c, 0.5, threads)
            results[f"gemm-{m}-{n}-{k}-{layout}"] = c.array
    return results


if __name__ == "__main__":
    np.savez(sys.argv[1], active=_C.isa_info()["active"], **all_cases(int(sys.argv[2])))
