"""The machine code that nvcc makes of every kernel: no spills, no local memory, within limits."""

from __future__ import annotations

import functools
import re
import shutil
from pathlib import Path

import pytest
from kernels import ARCHS, KERNELS, MOST_SHARED
from sktest import assembler, required

ROOT = Path(__file__).resolve().parents[2]
REGISTER_FILE = 65536  # of a multiprocessor
REPORT = re.compile(
    r"Compiling entry function '(?P<name>\w+)'.*?"
    r"(?P<stack>\d+) bytes stack frame, (?P<stores>\d+) bytes spill stores, "
    r"(?P<loads>\d+) bytes spill loads.*?Used (?P<registers>\d+) registers(?P<rest>[^\n]*)",
    re.DOTALL,
)


@pytest.fixture(scope="module")
def nvcc():
    """The compiler; missing, it fails the run where CI=true."""
    found = shutil.which("nvcc") or shutil.which("nvcc", path="/usr/local/cuda/bin")
    if found is None:
        required.missing("gates of CUDA kernels: nvcc was not found")
    return found


@functools.cache
def resources(nvcc: str, arch: str) -> dict[str, list[dict[str, int]]]:
    """What ptxas reports for every instance that the launchers build, by kernel."""
    found: dict[str, list[dict[str, int]]] = {name: [] for name in KERNELS}
    for source in sorted((ROOT / "csrc/cuda").glob("*.cu")):
        for entry in REPORT.finditer(assembler.report(nvcc, source, arch)):
            shared = re.search(r"(\d+) bytes smem", entry["rest"])
            numbers = {k: int(entry[k]) for k in ("stack", "stores", "loads", "registers")}
            numbers["shared"] = int(shared[1]) if shared else 0
            (name,) = (n for n in KERNELS if re.search(f"{len(n)}{n}[IE]", entry["name"]))
            found[name].append(numbers)
    return found


@pytest.mark.parametrize("name", KERNELS)
@pytest.mark.parametrize("arch", ARCHS)
def test_resources(nvcc, arch, name):
    kernel, built = KERNELS[name], resources(nvcc, arch)[name]
    assert len(built) == len(kernel.instances), "the table must list what the launchers build"
    for numbers in built:
        spilled = {k: v for k, v in numbers.items() if k in ("stack", "stores", "loads") and v}
        assert not spilled
        assert numbers["registers"] <= kernel.registers
        assert numbers["shared"] <= kernel.shared


@pytest.mark.parametrize("name", KERNELS)
def test_limits_leave_room_for_threads(name):
    """The table itself: so many threads of a multiprocessor at least, as the kernel says."""
    kernel = KERNELS[name]
    blocks = REGISTER_FILE // (kernel.threads * ((kernel.registers + 7) // 8 * 8))
    assert blocks * kernel.threads >= kernel.resident
    assert kernel.shared <= MOST_SHARED


def test_reports_are_understood():
    """A spill in ptxas' words is seen, so that the gate can fail."""
    text = """ptxas info    : Compiling entry function '_Z1kIfEvv' for 'sm_90'
ptxas info    : Function properties for _Z1kIfEvv
    8 bytes stack frame, 12 bytes spill stores, 16 bytes spill loads
ptxas info    : Used 40 registers, used 1 barriers, 20497 bytes smem
"""
    (entry,) = REPORT.finditer(text)
    assert entry.group("name", "stack", "stores", "loads") == ("_Z1kIfEvv", "8", "12", "16")
    assert entry["rest"].endswith("20497 bytes smem")
