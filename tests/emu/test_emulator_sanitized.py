"""Sanitizers under the emulator, in a program of their own."""

from __future__ import annotations

import subprocess
from pathlib import Path

import pytest
from sktest import emulation

SOURCE = Path(__file__).parent / "probes/sanitized.cu"

REPORTS = {
    "heap store": "heap-buffer-overflow",
    "heap load": "heap-buffer-overflow",
    "static shared": "use-after-poison",
    "dynamic shared": "use-after-poison",
    "index": "out of bounds",
    "alignment": "misaligned address",
}


@pytest.fixture(scope="module")
def program(compiler: None) -> Path:
    return emulation.build([SOURCE], "sanitized", sanitize="address,undefined")


def run(program: Path, mistake: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [program, mistake], capture_output=True, text=True, check=False, timeout=120
    )


def test_clean_run(program):
    done = run(program, "none")
    assert (done.returncode, done.stdout, done.stderr) == (0, "done\n", "")


@pytest.mark.parametrize("mistake", REPORTS)
def test_sanitizer_finds(program, mistake):
    done = run(program, mistake)
    assert done.returncode not in (0, 2, 3)
    assert REPORTS[mistake] in done.stderr
    assert "sanitized.cu" in done.stderr  # names the kernel's line


def test_errors_leave_no_trace(program):
    """Abandoned stacks and an exception's way out of a fiber are not reported."""
    done = run(program, "divergence")
    assert (done.returncode, done.stderr) == (2, "")
    assert done.stdout.count("barrier divergence") == 3
    assert done.stdout.endswith("done\n")
