"""Mistakes that the emulator must find, and that it goes on working afterwards."""

from __future__ import annotations

import signal
import subprocess
import sys

import pytest
import torch

# In the order of kKernels in probes/errors.cu: the mistake and what the error must say.
MISTAKES = {
    "some_exit": "barrier divergence: some threads have exited",
    "other_kind_of_barrier": "barrier divergence: threads wait at different barriers",
    "other_barrier": "barrier divergence: threads wait at different barriers",
    "lane_exited": "__shfl_up_sync names lane 5, which has exited",
    "lane_exits_late": "__shfl_xor_sync names lane 5, which has exited",
    "own_lane_missing": "__shfl_sync: the mask omits the calling lane",
    "reads_outside_mask": r"__shfl_down_sync: lane \d+ reads lane \d+, which is not in the mask",
    "reads_lane_that_never_was": r"lane \d+ reads lane \d+, which is not in the mask",
    "warps_block_each_other": "deadlock",
    "masks_disagree": "deadlock",
    "operations_disagree": "deadlock",
    "width_of_three": "width of a shuffle",
    "static_overrun": r"outside of shared memory, to byte 288 of tile \(288 bytes\)",
    "static_underrun": "outside of shared memory",
    "dynamic_overrun": r"to byte 256 of dynamic shared memory \(256 bytes\)",
    "too_much_static": "more than 48 KB of static shared memory",
    "throws": "^thrown by a kernel$",
    "nothing_wrong": "",
}


def run(probes, name: str) -> torch.Tensor:
    out = torch.full((72,), float("nan"))
    probes("mistake", list(MISTAKES).index(name), out)
    return out


@pytest.mark.parametrize("seed", range(5))
@pytest.mark.parametrize("name", [name for name, words in MISTAKES.items() if words])
def test_mistake_is_found_and_the_next_launch_works(probes, name, seed):
    probes.seed(seed)
    with pytest.raises(RuntimeError, match=MISTAKES[name]):
        run(probes, name)
    assert run(probes, "nothing_wrong").eq(2).all()


def line_of(probes_source: str, text: str) -> int:
    lines = probes_source.splitlines()
    return 1 + next(i for i, line in enumerate(lines) if text in line)


def test_error_lists_the_threads(probes, request):
    source = (request.path.parent / "probes/errors.cu").read_text()
    line = line_of(source, "void some_exit") + 2
    with pytest.raises(RuntimeError) as caught:
        run(probes, "some_exit")
    assert str(caught.value).splitlines() == [
        "cuda_emu: barrier divergence: some threads have exited",
        "block 0,0,0 of 72,1,1 threads:",
        "  40-71: exited",
        f"  0-39: waits at __syncthreads ({request.path.parent}/probes/errors.cu:{line})",
    ]


def test_error_shows_masks(probes):
    with pytest.raises(RuntimeError) as caught:
        run(probes, "warps_block_each_other")
    text = str(caught.value)
    assert "\n  0-31 64-71: waits at __syncthreads (" in text
    assert "\n  32-62: waits at __shfl_xor_sync with mask 0xffffffff (" in text
    assert "\n  63: waits at __syncthreads (" in text


@pytest.mark.parametrize(
    ("grid", "block"),
    [
        ((0, 1, 1), (32, 1, 1)),
        ((1, 0, 1), (32, 1, 1)),
        ((1, 70000, 1), (32, 1, 1)),
        ((1, 1, 70000), (32, 1, 1)),
        ((1, 1, 1), (0, 1, 1)),
        ((1, 1, 1), (1025, 1, 1)),
        ((1, 1, 1), (33, 32, 1)),
        ((1, 1, 1), (1, 1, 65)),
    ],
)
def test_launch_out_of_range(probes, grid, block):
    sizes = [torch.tensor(size, dtype=torch.int32) for size in (grid, block)]
    with pytest.raises(RuntimeError, match="launch configuration"):
        probes("configuration", *sizes)


def test_dynamic_shared_memory_has_a_limit(probes):
    probes("dynamic_bytes", 227 * 1024)
    with pytest.raises(RuntimeError, match="launch configuration"):
        probes("dynamic_bytes", 227 * 1024 + 1)


def test_stack_overflow_hits_the_guard(probes):
    code = f"import ctypes; ctypes.CDLL({str(probes.path)!r}).probe_overflow_stack()"
    done = subprocess.run([sys.executable, "-c", code], check=False, timeout=60)
    assert done.returncode == -signal.SIGSEGV
