"""Samples have the same bits on every instruction set; argument checks of the binding."""

import os
import subprocess
import sys
from pathlib import Path

import pytest
from sample_cases import digest

from subkern import _C

CASES = Path(__file__).with_name("sample_cases.py")
CALL = dict(weights=64, dtype=0, count=2, n=9, k=3, row_stride=9, seed=1, offset=0, sorted=True)
CALL |= dict(idx=64, info=64, sources=[], workspace=64, workspace_bytes=1 << 30, threads=1)


@pytest.mark.parametrize("isa", _C.isa_info()["supported"])
def test_same_bits(isa):
    if isa == _C.isa_info()["active"]:
        pytest.skip("this process runs on it: the others are compared with it")
    done = subprocess.run(
        [sys.executable, str(CASES)],
        env={**os.environ, "SUBKERN_CPU_ISA": isa},
        cwd=CASES.parent,
        capture_output=True,
        text=True,
    )
    assert done.returncode == 0, done.stderr[-2000:]
    assert done.stdout.split() == [digest(), isa]


@pytest.mark.parametrize(
    ("change", "words"),
    [
        (dict(weights=0), "weights must be the address"),
        (dict(idx=0), "idx must be the address"),
        (dict(info=0), "info must be the address"),
        (dict(workspace=0), "workspace must be the address"),
        (dict(workspace_bytes=10), "workspace_bytes must be at least"),
        (dict(dtype=2), "dtype must be 0"),
        (dict(count=-1), r"count must be in \[0, 2\^31\)"),
        (dict(n=2**31), r"n must be in \[0, 2\^31\)"),
        (dict(k=10), r"k must be in \[0, n\]"),
        (dict(threads=0), "threads must be at least 1"),
        (dict(sources=[(64, 5, 1, 0, 0, 0, 64)]), r"sources\[0\] must have elements of 1, 2,"),
        (dict(sources=[(64, 4, -1, 0, 0, 0, 64)]), r"sources\[0\] must have a width"),
        (dict(sources=[(0, 4, 1, 0, 0, 0, 64)]), r"sources\[0\] must be the address"),
        (dict(sources=[(64, 4, 1, 0, 0, 0, 0)]), r"sources\[0\]'s result must be the address"),
    ],
)
def test_arguments(change, words):
    with pytest.raises(ValueError, match=f"sample_without_replacement: {words}"):
        _C.sample_without_replacement(**{**CALL, **change})


def test_words_are_unsigned():
    for name in ("seed", "offset"):
        with pytest.raises(TypeError):
            _C.sample_without_replacement(**{**CALL, name: -1})


def test_workspace_arguments():
    assert _C.sample_without_replacement_workspace(n=9, k=3, threads=2) > 0
    with pytest.raises(ValueError, match=r"sample_without_replacement_workspace: k must be in"):
        _C.sample_without_replacement_workspace(n=9, k=10, threads=2)
