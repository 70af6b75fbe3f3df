"""Ready calls of every kernel on small seeded inputs.

Run as a script with an output path and a thread count it writes the results of all cases to an
npz file: that is how another instruction set is tried, in its own process.
"""

import sys

import numpy as np
from native_model import BF16, FP32, Buffer
from sparse_cases import sparse_cases
from vector_cases import vector_cases

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


def moments_inputs(count, k, q, rank, axis, code, seed=0, limiter=0.0):
    """Buffers of a chunk for gradients X = k x q in canonical form: R = basis^T X, |X_j|^2."""
    rng = np.random.default_rng(seed)
    chunk = {
        name: []
        for name in ("R", "exp_avg", "exp_avg_sq", "step", "skipped", "norms", "limiter", "coef")
    }
    for p in range(count):
        x = rng.standard_normal((k, q)) * np.exp(rng.standard_normal(q))
        basis = np.linalg.qr(rng.standard_normal((k, max(rank, 1))))[0][:, :rank]
        stored = Buffer(x, code).array
        r = basis.T @ stored
        r = r if axis == 1 else r.T
        chunk["R"].append(Buffer(r, code))
        chunk["exp_avg"].append(Buffer(rng.standard_normal(r.shape) * 0.1))
        chunk["exp_avg_sq"].append(Buffer(rng.random(r.shape) * 0.1))
        chunk["step"].append(Buffer(float(5 + p)))
        chunk["skipped"].append(Buffer(0.0))
        chunk["norms"].append(Buffer(np.sum(stored.astype(np.float64) ** 2, axis=0)))
        chunk["limiter"].append(Buffer(limiter))
        chunk["coef"].append(Buffer(np.full(q, np.nan)))
    return chunk


def moments_arguments(chunk, axis, rule, a=1.0, scale=0.25, threads=1, **changes):
    """Keyword arguments of lowrank_adam_moments for the buffers, and the scratch to keep alive."""
    r = chunk["R"][0]
    shape = {"rows": r.array.shape[0], "cols": r.array.shape[1], "column_axis": axis}
    floats = _C.lowrank_adam_workspace(count=len(chunk["R"]), rule=rule, **shape)
    scratch = Buffer(np.full(floats, np.nan))
    arguments = {
        **{name: [b.address for b in buffers] for name, buffers in chunk.items()},
        **shape,
        "columns": chunk["norms"][0].array.size,
        "r_dtype": r.code,
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


def product_shape(x, rank, axis, threads):
    """What both products take about shape, and their scratch."""
    shape = {"rows": x.array.shape[0], "cols": x.array.shape[1], "rank": rank, "column_axis": axis}
    floats = _C.lowrank_product_workspace(**shape, threads=max(threads, 1))
    scratch = Buffer(np.full(floats, np.nan))
    place = {"workspace": scratch.address, "workspace_floats": floats, "threads": threads}
    return {**shape, **place}, scratch


def run_project(x, p, r, norms, axis, threads=1, **changes):
    """R = P^T X (axis 1) or X P, and norms unless None."""
    shape, scratch = product_shape(x, p.array.shape[1], axis, threads)
    arguments = {
        **{"X": x.address, "x_dtype": x.code, **x.strides("x")},
        **{"P": p.address, "p_dtype": p.code, **p.strides("p")},
        **{"R": r.address, "norms": norms.address if norms else 0},
        **shape,
    }
    _C.lowrank_project(**{**arguments, **changes})
    scratch.assert_guarded()


def run_update(w, p, d, x, coef, axis, decay, threads=1, **changes):
    """W = decay W + P D (axis 1) or D P^T, + coef X unless x is None."""
    shape, scratch = product_shape(w, p.array.shape[1], axis, threads)
    panel = x or Buffer([0.0])
    arguments = {
        **{"W": w.address, "w_dtype": w.code, **w.strides("w")},
        **{"P": p.address, "p_dtype": p.code, **p.strides("p")},
        **{"X": x.address if x else 0, "x_dtype": panel.code, **panel.strides("x")},
        **{"D": d.address, "coef": coef.address if coef else 0, "decay": decay},
        **shape,
    }
    _C.lowrank_update(**{**arguments, **changes})
    scratch.assert_guarded()


def product_inputs(k, q, rank, axis, code, layouts=("rows", "rows", "rows"), seed=0):
    """Buffers of both products: X, W, P in the given layouts, R, norms, D, coef."""
    rng = np.random.default_rng(seed)
    size, low = ((k, q), (rank, q)) if axis == 1 else ((q, k), (q, rank))
    x, w = (Buffer(rng.standard_normal(size), code, layout) for layout in layouts[:2])
    p = Buffer(rng.standard_normal((k, rank)), code, layouts[2])
    r, norms = Buffer(np.full(low, np.nan)), Buffer(np.full(q, np.nan))
    return x, w, p, r, norms, Buffer(rng.standard_normal(low)), Buffer(rng.standard_normal(q))


def all_cases(threads):
    """Results of one call per kernel and configuration, as raw bits by name."""
    results = vector_cases(threads)
    for code in (FP32, BF16):
        inputs = adam_inputs([1, 0, 17, 5461, 50000], code)
        run_adam(inputs, code, threads)
        for name in ("W", "exp_avg", "exp_avg_sq"):
            for p, buffer in enumerate(inputs[name]):
                results[f"adam-{name}-{p}-{code}"] = buffer.array
        for axis in (0, 1):
            for rule in (0, 1):
                chunk = moments_inputs(3, 40, 1031, 19, axis, code, limiter=0.05)
                run_moments(chunk, axis, rule, threads=threads)
                for name in ("R", "exp_avg", "exp_avg_sq", "limiter", "coef"):
                    key = f"moments-{name}-{axis}-{rule}-{code}"
                    results[key] = np.stack([b.array for b in chunk[name]])
        rng = np.random.default_rng(1)
        w, t, x = (Buffer(rng.standard_normal((130, 517)), code) for _ in range(3))
        run_apply(w, t, x, Buffer(rng.standard_normal(517)), 1, 0.9, threads)
        results[f"apply-{code}"] = w.array
        results |= sparse_cases(code, threads)
        for k, q, rank in ((1, 3001, 1), (300, 700, 2), (513, 517, 129), (64, 90, 64)):
            for axis in (0, 1):
                for layout in ("rows", "cols"):
                    layouts = (layout,) * 3
                    x, w, p, r, norms, d, c = product_inputs(k, q, rank, axis, code, layouts)
                    run_project(x, p, r, norms, axis, threads)
                    run_update(w, p, d, x, c, axis, 0.9, threads)
                    key = f"{k}-{q}-{rank}-{axis}-{layout}-{code}"
                    results[f"project-{key}"], results[f"norms-{key}"] = r.array, norms.array
                    results[f"update-{key}"] = w.array
    return results


if __name__ == "__main__":
    np.savez(sys.argv[1], active=_C.isa_info()["active"], **all_cases(int(sys.argv[2])))
