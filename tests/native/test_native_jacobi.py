"""svd_small and eigh_small keep their contracts on every instruction set; argument checks."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

from subkern import _C

CASES = Path(__file__).with_name("jacobi_cases.py")
SVD = dict(A=64, dtype=0, count=2, m=3, n=3, matrix_stride=9, row_stride=3, col_stride=1)
SVD |= dict(U=64, S=64, Vh=64, info=64, workspace=64, workspace_bytes=1 << 30, threads=1)
EIGH = dict(C=64, dtype=0, count=2, n=3, matrix_stride=9, row_stride=3, col_stride=1)
EIGH |= dict(w=64, V=64, info=64, workspace=64, workspace_bytes=1 << 30, threads=1)


@pytest.mark.parametrize("isa", _C.isa_info()["supported"])
def test_contracts(isa):
    if isa == _C.isa_info()["active"]:
        pytest.skip("tests/ops has run on this instruction set")
    done = subprocess.run(
        [sys.executable, str(CASES)],
        env={**os.environ, "SUBKERN_CPU_ISA": isa},
        cwd=CASES.parent,
        capture_output=True,
        text=True,
    )
    assert done.returncode == 0, done.stderr[-2000:]
    assert done.stdout.split()[-1] == isa


@pytest.mark.parametrize(
    ("change", "words"),
    [
        (dict(A=0), "A must be the address"),
        (dict(U=0), "U must be the address"),
        (dict(S=0), "S must be the address"),
        (dict(Vh=0), "Vh must be the address"),
        (dict(info=0), "info must be the address"),
        (dict(workspace=0), "workspace must be the address"),
        (dict(workspace_bytes=10), "workspace_bytes must be at least"),
        (dict(dtype=2), "dtype must be 0"),
        (dict(count=-1), "count must be zero or more"),
        (dict(m=-1), "m must be zero or more"),
        (dict(m=65, n=65), "min\\(m, n\\) must be at most 64"),
        (dict(threads=0), "threads must be at least 1"),
    ],
)
def test_svd_small_arguments(change, words):
    with pytest.raises(ValueError, match=f"svd_small: {words}"):
        _C.svd_small(**{**SVD, **change})


@pytest.mark.parametrize(
    ("change", "words"),
    [
        (dict(C=0), "C must be the address"),
        (dict(w=0), "w must be the address"),
        (dict(V=0), "V must be the address"),
        (dict(info=0), "info must be the address"),
        (dict(workspace=0), "workspace must be the address"),
        (dict(workspace_bytes=10), "workspace_bytes must be at least"),
        (dict(dtype=2), "dtype must be 0"),
        (dict(count=-1), "count must be zero or more"),
        (dict(n=65), "n must be at most 64"),
        (dict(threads=0), "threads must be at least 1"),
    ],
)
def test_eigh_small_arguments(change, words):
    with pytest.raises(ValueError, match=f"eigh_small: {words}"):
        _C.eigh_small(**{**EIGH, **change})
