"""The device headers compile at run time, as CuPy would: no standard header, one include path."""

from __future__ import annotations

import re
from pathlib import Path

import pytest
from kernels import ARCHS, KERNELS
from nvrtc import Nvrtc, find
from sktest import required

HEADERS = Path(__file__).resolve().parents[2] / "csrc/cuda"
# 16-byte accesses in the PTX of the instances that are there for them.
VECTORS = {
    "adam_scan_kernel<float>": (r"ld\.global[.\w]*\.v4", 1),
    "adam_apply_kernel<float>": (r"(ld|st)\.global[.\w]*\.v4", 7),
    "adam_apply_kernel<subkern::bf16>": (r"(ld|st)\.global[.\w]*\.v4", 11),
    "cg_step_direction_kernel": (r"(ld|st)\.global[.\w]*\.v4", 5),
    "cg_step_residual_kernel": (r"(ld|st)\.global[.\w]*\.v4", 3),
    "combine_kernel": (r"(ld|st)\.global[.\w]*\.v4", 3),
    "galore_moments_kernel<float, true>": (r"(ld|st)\.global[.\w]*\.v4", 7),
    "fira_columns_kernel<float, true>": (r"(ld|st)\.global[.\w]*\.v4", 8),
    "fira_rows_kernel<float, true>": (r"(ld|st)\.global[.\w]*\.v4", 8),
    "group_dot_kernel": (r"ld\.global[.\w]*\.v4", 2),
    "orthonormalize_kernel<8>": (r"(ld|st)\.global[.\w]*\.v4", 13),
    "packed_adamw_kernel<float, true>": (r"(ld|st)\.global[.\w]*\.v4", 12),
    "packed_adamw_kernel<subkern::bf16, false>": (r"(ld|st)\.global[.\w]*\.v4", 11),
    "select_kernel<float, false>": (r"ld\.global[.\w]*\.v4", 2),
    "select_kernel<subkern::bf16, true>": (r"ld\.global[.\w]*\.v4", 2),
    "swap_kernel<float>": (r"ld\.global[.\w]*\.v4", 4),
    "sst_adamw_kernel<float, true>": (r"(ld|st)\.global[.\w]*\.v4", 11),
    "sst_adamw_kernel<subkern::bf16, true>": (r"(ld|st)\.global[.\w]*\.v4", 16),
    "orthonormalize_slice_kernel<32>": (r"(ld|st)\.global[.\w]*\.v4", 13),
}


@pytest.fixture(scope="module")
def nvrtc():
    """The compiler; missing, it fails the run where CI=true."""
    path = find()
    if path is None:
        required.missing("NVRTC: the package nvidia-cuda-nvrtc is not installed")
    return Nvrtc(path)


def compile_all(nvrtc, arch):
    """PTX of every instance in the table, by the instance's name."""
    headers = sorted({kernel.header for kernel in KERNELS.values()})
    source = "".join(f'#include "{header}"\n' for header in headers)
    names = [
        f"{name}<{t}>" if t else name for name, kernel in KERNELS.items() for t in kernel.instances
    ]
    options = [f"--gpu-architecture=compute_{arch}", "-std=c++17", f"-I{HEADERS}"]
    ptx, lowered = nvrtc.compile(source, [f"subkern::{name}" for name in names], options)
    found = {}
    for name, symbol in zip(names, lowered, strict=True):
        body = re.search(rf"\.entry {re.escape(symbol)}\(.*?^}}", ptx, re.DOTALL | re.MULTILINE)
        assert body is not None, name
        found[name] = body[0]
    return found


@pytest.mark.parametrize("arch", ARCHS)
def test_headers_compile(nvrtc, arch):
    for name, body in compile_all(nvrtc, arch).items():
        assert "__local_depot" not in body, f"{name} uses local memory"
        pattern, least = VECTORS.get(name, ("", 0))
        assert len(re.findall(pattern, body)) >= least, f"{name}: 16-byte accesses"


def test_errors_carry_the_log(nvrtc):
    with pytest.raises(RuntimeError, match="nowhere"):
        nvrtc.compile("int x = nowhere;", [], [])
