"""The kernel of orthonormalize: every instruction set over the gallery, memory, arguments."""

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest
import torch

from subkern import _C

CASES = Path(__file__).with_name("orthonormalize_cases.py")
GUARD = 64  # elements around every buffer
MARK = 77.0


@pytest.mark.parametrize("isa", ["generic", "avx2", "avx512"])
def test_every_instruction_set_meets_the_bounds(isa):
    if isa not in _C.isa_info()["supported"]:
        pytest.skip(f"{isa} is not supported by this machine")
    done = subprocess.run(
        [sys.executable, str(CASES)],
        env={**os.environ, "SUBKERN_CPU_ISA": isa, "OMP_NUM_THREADS": "2"},
        cwd=CASES.parent,
        capture_output=True,
        text=True,
    )
    assert done.returncode == 0, done.stderr[-2000:]
    said = json.loads(done.stdout)
    assert said["active"] == isa
    assert any("QR residual" in name for name in said["used"])


class Call:
    """Buffers between guard bands, and the arguments of a call on them."""

    def __init__(self, count, m, k, threads=1):
        self.sizes = {"Y": count * m * k, "Q": count * m * k, "R": count * k * k}
        bytes_ = _C.orthonormalize_workspace(m=m, k=k, threads=threads)
        self.sizes |= {"scratch": bytes_ // 4, "info": count}
        self.buffers = {n: torch.full((s + 2 * GUARD,), MARK) for n, s in self.sizes.items()}
        self.buffers["info"] = self.buffers["info"].int()
        scratch = self.buffers["scratch"]
        self.shift = (-scratch.data_ptr() // 4 - GUARD) % 16
        self.buffers["scratch"] = torch.full((scratch.numel() + 16,), MARK)
        self.shift = -(self.buffers["scratch"].data_ptr() // 4 + GUARD) % 16
        self.inner("info").zero_()
        self.inner("Y").copy_(torch.randn(self.sizes["Y"]))
        self.arguments = {n: self.inner(n).data_ptr() for n in self.sizes}
        self.arguments |= dict(count=count, m=m, k=k, threads=threads, dtype=0)
        self.arguments |= dict(matrix_stride=m * k, row_stride=k, col_stride=1)

    def inner(self, name):
        start = GUARD + (self.shift if name == "scratch" else 0)
        return self.buffers[name][start : start + self.sizes[name]]

    def run(self, **changes):
        _C.orthonormalize(**self.arguments | changes)

    def assert_guards(self):
        for name, size in self.sizes.items():
            start = GUARD + (self.shift if name == "scratch" else 0)
            buffer = self.buffers[name]
            outside = torch.cat([buffer[:start], buffer[start + size :]])
            assert (outside == MARK).all(), name


@pytest.mark.parametrize("threads", [1, 2])
@pytest.mark.parametrize("shape", [(1, 1), (7, 5), (8, 8), (129, 3), (65, 33), (300, 64)])
def test_memory(shape, threads):
    """Every element of the results is written, nothing around them or the scratch, twice alike."""
    for count in (1, 9):
        call = Call(count, *shape, threads=threads)
        if shape == (129, 3):
            call.inner("Y").zero_()  # repair uses the rest of the scratch
        call.run()
        call.assert_guards()
        for name in ("Q", "R"):
            assert not (call.inner(name) == MARK).any(), name
        first = call.inner("Q").clone()
        call.inner("scratch").fill_(float("nan"))  # what the scratch held does not matter
        call.run()
        assert torch.equal(call.inner("Q"), first)


def test_info_is_added():
    call = Call(2, 5, 3)
    call.inner("Y")[:15] = 0
    call.inner("info")[:] = torch.tensor([4, 8])
    call.run()
    assert call.inner("info").tolist() == [6, 8]


BAD = [
    ({"k": 6}, "k must be at most m"),
    ({"m": 100, "k": 65}, "k must be at most m and 64"),
    ({"m": -1}, "m must be zero or more"),
    ({"count": -1}, "count must be zero or more"),
    ({"dtype": 2}, "dtype must be 0"),
    ({"threads": 0}, "threads must be at least 1"),
    ({"scratch": 8}, "scratch must be aligned to 64"),
    *(({name: 0}, f"{name} must be the address") for name in ("Y", "Q", "R", "info", "scratch")),
]


@pytest.mark.parametrize(("changes", "message"), BAD, ids=[m.split()[0] + m[-3:] for _, m in BAD])
def test_bad_arguments(changes, message):
    call = Call(2, 5, 3)
    before = _C.call_counts()["orthonormalize"]
    with pytest.raises(ValueError, match=f"^orthonormalize: {message}.*, got "):
        call.run(**changes)
    assert _C.call_counts()["orthonormalize"] == before
    call.assert_guards()
    assert (call.inner("Q") == MARK).all()


def test_calls_are_counted():
    before = _C.call_counts()["orthonormalize"]
    Call(2, 5, 3).run()
    assert _C.call_counts()["orthonormalize"] == before + 1
