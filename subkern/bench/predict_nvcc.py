"""What nvcc makes of the CUDA C++ kernels, and how the launches of cases lie on an H100."""

import re
import shutil
import subprocess
import tempfile
from collections import Counter
from collections.abc import Callable
from functools import cache
from math import ceil
from pathlib import Path
from typing import Any

import torch

from subkern.bench.cases import all_cases
from subkern.bench.h100 import SMS, floor_s
from subkern.bench.launches import Launch, record
from subkern.bench.machine_code import SM_WARPS, MachineCode, accesses, limits
from subkern.bench.predict_triton import CAPABILITY, MissingCompilerError, widths

ROOT = Path(__file__).resolve().parents[2]
KERNEL_COLUMNS = (
    "kernel", "threads", "registers", "static shared, B", "stack, B", "spills, B",
    "blocks per SM", "warps of 64", "loads", "stores",
)  # fmt: skip
LAUNCH_COLUMNS = (
    "call", "floor, ms (predicted)", "kernel", "launches", "blocks", "threads", "shared, KB",
    "blocks per SM", "warps of 64", "limited by", "waves",
)  # fmt: skip


def nvcc() -> str:
    """The compiler's path."""
    found = shutil.which("nvcc")
    if found is None:
        raise MissingCompilerError("nvcc is not on PATH")
    return found


def head() -> str:
    """The line above the tables: which compiler, for which GPU."""
    said = subprocess.run([nvcc(), "--version"], capture_output=True, text=True, check=True).stdout
    release = re.search(r"release ([\d.]+)", said)
    return f"nvcc {release[1] if release else '?'}, sm_{CAPABILITY}:"


def report(compiler: str, source: Path) -> str:
    """The words of ``ptxas -v`` for a source, and its PTX."""
    with tempfile.TemporaryDirectory() as folder:
        done = subprocess.run(
            [
                compiler, "-std=c++17", "-O3", "-cubin", "-Xptxas", "-v", f"-I{ROOT}/csrc/include",
                f"-gencode=arch=compute_{CAPABILITY},code=sm_{CAPABILITY}", "--keep", "--keep-dir",
                folder, "-o", f"{folder}/out.cubin", str(source),
            ],
            capture_output=True,
            text=True,
        )  # fmt: skip
        if done.returncode:
            raise RuntimeError(f"nvcc failed on {source.name}:\n{done.stderr[-4000:]}")
        return done.stderr + Path(folder, f"{source.stem}.ptx").read_text()


def kernels(text: str) -> dict[str, tuple[int, MachineCode]]:
    """Threads of the largest block, and the code, of every kernel of a report."""
    found: dict[str, tuple[int, MachineCode]] = {}
    pieces = re.split(r"Compiling entry function '([^']+)'", text)[1:]
    for mangled, words in zip(pieces[::2], pieces[1::2], strict=True):
        entry = re.search(rf"\.entry {re.escape(mangled)}\((.*?)^}}", text, re.S | re.M)
        ptx = entry[1] if entry else ""
        found[_short(mangled)] = (
            _number(r"\.maxntid (\d+)", ptx),
            MachineCode(
                registers=_number(r"Used (\d+) registers", words),
                shared_bytes=_number(r"(\d+) bytes smem", words),
                stack_bytes=_number(r"(\d+) bytes stack frame", words),
                spill_bytes=_number(r"(\d+) bytes spill stores", words)
                + _number(r"(\d+) bytes spill loads", words),
                loads=accesses("ld", ptx),
                stores=accesses("st", ptx),
            ),
        )
    return found


def _number(pattern: str, text: str) -> int:
    found = re.search(pattern, text)
    return int(found[1]) if found else 0


def _short(mangled: str) -> str:
    """A kernel's name and template arguments, without namespace and parameters."""
    tool = shutil.which("c++filt") or shutil.which("cu++filt")
    if tool is None:
        return mangled
    done = subprocess.run([tool, mangled], capture_output=True, text=True, check=True)
    name = done.stdout.strip().replace("subkern::", "").removeprefix("void ")
    depth = 0
    for place, letter in enumerate(name):
        depth += (letter == "<") - (letter == ">")
        if letter == "(" and depth == 0:
            return name[:place]
    return name


@cache
def compiled() -> dict[str, tuple[int, MachineCode]]:
    """Every kernel of csrc/cuda."""
    compiler = nvcc()
    found: dict[str, tuple[int, MachineCode]] = {}
    for source in sorted((ROOT / "csrc" / "cuda").glob("*.cu")):
        found |= dict(sorted(kernels(report(compiler, source)).items()))
    return found


def _table(columns: tuple[str, ...]) -> list[str]:
    return [head(), "", f"| {' | '.join(columns)} |", f"|{'---|' * len(columns)}"]


def kernel_table() -> list[str]:
    """Every kernel, by the assembler's report and its PTX; dynamic shared memory is not counted."""
    lines = _table(KERNEL_COLUMNS)
    for name, (threads, code) in compiled().items():
        blocks = code.occupancy(threads // 32)
        cells = [
            f"`{name}`", threads, code.registers, code.shared_bytes, code.stack_bytes,
            code.spill_bytes, blocks, blocks * threads // 32,
            widths(code.loads) or "-", widths(code.stores) or "-",
        ]  # fmt: skip
        lines.append(f"| {' | '.join(map(str, cells))} |")
    return lines


def calls() -> dict[str, Callable[[], object]]:
    """What calls the CUDA C++ kernels of a case; their launches depend on shapes alone."""
    import subkern
    from subkern.bench import cg, packed_adamw, sst_adamw, update_mask
    from subkern.bench.krylov import Problem

    def batch(op: Callable[..., object], *shape: int, **options: Any) -> Callable[[], object]:
        return lambda: op(torch.rand(shape), **options, backend="cuda")

    def solve(images: int, side: int, coils: int, line: bool, coupling: str) -> object:
        problem = Problem(images, coils, side, side, line)
        return subkern.cg_prox(
            *(problem.operator, problem.z),
            Aty=problem.Aty,
            gamma=problem.gamma,
            maxiter=5,
            coupling=coupling,
            backend="cuda",
        )

    def opaque(samples: int, side: int) -> object:
        problem = cg.Opaque(samples, side, "cpu")
        return subkern.cg(problem.system, problem.b, maxiter=10, backend="cuda")

    def swap() -> object:
        remove, add, mask = update_mask.problem(8_000_000, 0.1, "fp32")
        return subkern.update_mask(remove, add, mask, 240_000, backend="cuda")

    def spectral(m: int, n: int, rank: int) -> None:
        sst_adamw.ours(sst_adamw.Problem([(m, n)], rank, "cpu").lists(), "cuda")

    return {
        "svd_small-2048x8-b1000-fp32": batch(subkern.svd_small, 1000, 2048, 8),
        "svd_small-8x8-b4096-fp32": batch(subkern.svd_small, 4096, 8, 8),
        "svd_small-16x16-b4096-fp32": batch(subkern.svd_small, 4096, 16, 16),
        "svd_small-32x32-b4096-fp32": batch(subkern.svd_small, 4096, 32, 32),
        "svd_small-64x64-b1024-fp32": batch(subkern.svd_small, 1024, 64, 64),
        "eigh_small-32x32-b4096-fp32": batch(subkern.eigh_small, 4096, 32, 32),
        "eigh_small-64x64-b1024-fp32": batch(subkern.eigh_small, 1024, 64, 64),
        "orthonormalize-2048x8-b1000-fp32": batch(subkern.orthonormalize, 1000, 2048, 8),
        "orthonormalize-64x8-b1000-fp32": batch(subkern.orthonormalize, 1000, 64, 8),
        "orthonormalize-4096x256-b1-fp32": batch(subkern.orthonormalize, 1, 4096, 256),
        "orthonormalize-4096x1024-b1-fp32": batch(subkern.orthonormalize, 1, 4096, 1024),
        "orthonormalize 65536x64 b1": batch(subkern.orthonormalize, 1, 65536, 64),
        "sample_without_replacement-4096-k128-b256-fp32": batch(
            subkern.sample_without_replacement, 256, 4096, k=128, seed=0
        ),
        "sst_adamw-4096x11008-r341-fp32": lambda: spectral(4096, 11008, 341),
        "kth_largest-8000000-top50-fp32": batch(subkern.kth_largest, 8_000_000, k=4_000_000),
        "update_mask-8000000-fp32": swap,
        "packed_adamw-2000x4000-d10-fp32": lambda: packed_adamw.Ours(
            packed_adamw.Problem((2000, 4000), 0.1, "fp32"), "cuda"
        )(),
        "cg-line-row-320x320-c15-b1": lambda: solve(1, 320, 15, True, "row"),
        "cg-line-row-384x384-c32-b1": lambda: solve(1, 384, 32, True, "row"),
        "cg-line-row-256x256-c4-b8": lambda: solve(8, 256, 4, True, "row"),
        "cg-line-sample-320x320-c15-b1": lambda: solve(1, 320, 15, True, "sample"),
        "cg-plane-sample-320x320-c15-b1": lambda: solve(1, 320, 15, False, "sample"),
        "cg-opaque-64x64-b1": lambda: opaque(1, 64),
        "cg-opaque-320x320-b1": lambda: opaque(1, 320),
        "cg-opaque-256x256-b8": lambda: opaque(8, 256),
    }


def launch_table() -> list[str]:
    """How the launches of a call fill multiprocessors; equal launches are counted."""
    floors = {c.name: floor_s(c.bytes, c.flops, c.dtype) for c in all_cases(device="cuda")}
    lines = _table(LAUNCH_COLUMNS)
    for name, call in calls().items():
        floor = f"{floors[name] * 1e3:.3f}" if name in floors else ""
        for launch, count in Counter(record(call)).items():
            lines.append(f"| {' | '.join(map(str, _row(name, floor, launch, count)))} |")
            floor = ""  # of the call, not of a launch
    return lines


def _row(call: str, floor: str, launch: Launch, count: int) -> list[object]:
    """Cells of one launch."""
    code = compiled()[launch.kernel][1]
    warps, shared = ceil(launch.threads / 32), code.shared_bytes + launch.shared
    room = limits(code.registers, shared, warps)
    per_sm = min(room.values())
    by = min(room, key=room.__getitem__) if per_sm * warps < SM_WARPS else "-"
    waves = launch.blocks / (per_sm * SMS)
    return [
        f"`{call}`", floor, f"`{launch.kernel}`", count, launch.blocks, launch.threads,
        f"{shared / 1024:.0f}", per_sm, per_sm * warps, by, f"{waves:.2f}",
    ]  # fmt: skip
