"""Gram matrices of every instruction set, and bad arguments of the binding."""

import os
import subprocess
import sys

import numpy as np
import pytest

from subkern import _C

SHAPES = [(1, 1, 1), (3, 5, 7), (2, 130, 16), (2, 300, 33), (1, 40, 150), (2, 0, 4)]


def inputs(shape, order, dtype):
    """(batch, depth, side) float32 or bfloat16 bits, row- or column-major."""
    rng = np.random.default_rng(sum(shape))
    X = rng.standard_normal(shape).astype(np.float32)
    bits = (X.view(np.uint32) >> 16).astype(np.uint16)
    exact = (bits.astype(np.uint32) << 16).view(np.float32) if dtype else X
    stored = bits if dtype else X
    if order == "columns":
        stored = np.ascontiguousarray(stored.swapaxes(1, 2)).swapaxes(1, 2)
    return stored, exact.astype(np.float64)


def run(matrices, kind, sums, out, team=2, **changes):
    batch, depth, side = matrices.shape
    G = np.full((batch, side, side), np.nan, np.float64 if out else np.float32)
    size = _C.gram_workspace(side=side, wide=sums, threads=team)
    scratch = np.full(size, 255, np.uint8)  # NaN in every precision
    strides = [s // matrices.itemsize for s in matrices.strides]
    names = ("batch_stride", "depth_stride", "side_stride")
    call = dict(X=matrices.ctypes.data, dtype=kind, batch=batch, depth=depth, side=side)
    call |= dict(zip(names, strides, strict=True))
    call |= dict(G=G.ctypes.data, wide=sums, wide_out=out, scratch=scratch.ctypes.data)
    _C.gram(**(call | dict(scratch_bytes=size, threads=team) | changes))
    return G


def check_all():
    for shape in SHAPES:
        for order in ("rows", "columns"):
            for dtype in (0, 1):
                X, exact = inputs(shape, order, dtype)
                want = exact.swapaxes(1, 2) @ exact
                size = np.abs(want).max(initial=1e-30)
                for wide, wide_out, bound in ((0, 0, 1e-5), (1, 0, 1e-7), (1, 1, 1e-13)):
                    G = run(X, dtype, bool(wide), bool(wide_out))
                    error = np.abs(G - want).max(initial=0.0) / size
                    assert error < bound, (shape, order, dtype, wide, error)
                    assert np.array_equal(G, G.swapaxes(1, 2))
                    assert np.array_equal(G, run(X, dtype, bool(wide), bool(wide_out), 1))


@pytest.mark.parametrize("isa", _C.isa_info()["supported"])
def test_every_instruction_set(isa):
    done = subprocess.run(
        [sys.executable, __file__],
        env={**os.environ, "SUBKERN_CPU_ISA": isa},
        capture_output=True,
        text=True,
    )
    assert done.returncode == 0, done.stderr
    assert done.stdout.strip() == isa


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"dtype": 2}, "dtype must be 0"),
        ({"batch": -1}, "batch must be zero or more"),
        ({"depth": -1}, "depth must be zero or more"),
        ({"side": 2**61}, "side must keep the matrix below"),
        ({"X": 0}, "X must be the address"),
        ({"G": 0}, "G must be the address"),
        ({"threads": 0}, "threads must be at least 1"),
        ({"scratch": 0}, "scratch must be the address"),
        ({"scratch_bytes": 8}, "scratch_bytes must be at least"),
        ({"wide_out": True}, "wide_out must come with wide"),
    ],
    ids=lambda c: next(iter(c), c)[:12],
)
def test_bad_arguments(changes, message):
    X, _ = inputs((2, 5, 3), "rows", 0)
    before = X.copy()
    with pytest.raises(ValueError, match=f"^gram: {message}.*, got "):
        run(X, 0, False, False, **changes)
    assert np.array_equal(X, before)


def test_counter():
    before = _C.call_counts().get("gram", 0)
    run(inputs((1, 2, 2), "rows", 0)[0], 0, False, False)
    assert _C.call_counts()["gram"] == before + 1


if __name__ == "__main__":
    check_all()
    print(_C.isa_info()["active"])
