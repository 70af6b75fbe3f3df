"""What a Triton kernel becomes on a GPU that is not there: registers, shared memory, instructions.

    jobs = record(lambda: subkern.ops.lowrank_adam_(..., backend="triton"))
    for job, code in zip(jobs, compile_jobs(jobs, capability=90)):
        print(job.kernel, code.registers, code.occupancy(job.warps))

:func:`record` takes the launches of a call, with the arguments that a GPU would get, instead of
running them; :func:`compile_jobs` compiles them in a process of its own, where no TRITON_INTERPRET
is set, by the installed Triton or another one.
"""

from __future__ import annotations

import contextlib
import io
import json
import os
import re
import subprocess
import sys
import tempfile
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass, field, replace
from typing import Any
from unittest import mock

import torch

POINTERS = {torch.float32: "*fp32", torch.bfloat16: "*bf16", torch.int32: "*i32"}
POINTERS |= {torch.int64: "*i64", torch.float16: "*fp16", torch.float64: "*fp64"}
OPTIONS = ("num_warps", "num_stages")

# One multiprocessor of compute capability 9.0.
SM_REGISTERS, SM_WARPS, SM_BLOCKS, SM_SHARED = 65536, 64, 32, 228 << 10
RESERVED_SHARED = 1 << 10  # per block


@dataclass(frozen=True)
class Job:
    """One kernel with what its compiler knows.

    Attributes:
        kernel: "module:function".
        signature: type of every argument; "constexpr" for those in ``constants``.
        constants: values; a Triton dtype is written ["dtype", name].
        aligned: pointer arguments that are multiples of 16 bytes.
    """

    kernel: str
    signature: dict[str, str]
    constants: dict[str, Any]
    aligned: tuple[str, ...]
    warps: int
    stages: int
    grid: tuple[int, ...] = ()

    @property
    def name(self) -> str:
        """The function's name."""
        return self.kernel.partition(":")[2]


@dataclass(frozen=True)
class MachineCode:
    """What the compilers made of a job; widths are in bytes per thread, mapped to counts."""

    registers: int
    spill_bytes: int
    stack_bytes: int
    shared_bytes: int
    loads: dict[int, int] = field(default_factory=dict)
    stores: dict[int, int] = field(default_factory=dict)
    copies: dict[int, int] = field(default_factory=dict)
    warpgroup_mma: int = 0
    warp_mma: int = 0
    ptx: str = ""

    def occupancy(self, warps: int) -> int:
        """Blocks of so many warps that fit on one multiprocessor of an H100 (predicted)."""
        return min(limits(self.registers, self.shared_bytes, warps).values())


def limits(registers: int, shared: int, warps: int) -> dict[str, int]:
    """Blocks of a multiprocessor of an H100 by each of its resources.

    Args:
        registers: of a thread; a warp's are handed out 256 at a time.
        shared: bytes of a block.
        warps: of a block.
    """
    per_warp = -(-registers * 32 // 256) * 256
    return {
        "warps": SM_WARPS // warps,
        "blocks": SM_BLOCKS,
        "registers": SM_REGISTERS // (per_warp * warps),
        "shared memory": SM_SHARED // (shared + RESERVED_SHARED),
    }


def record(function: Callable[[], object]) -> list[Job]:
    """The launches that ``function`` would make, in order; nothing runs."""
    from subkern.backends.triton import launch

    jobs: list[Job] = []

    def note(kernel: Any, grid: tuple[int, ...], **arguments: Any) -> None:
        jobs.append(_job(kernel, grid, arguments))

    with mock.patch.object(launch, "run", note):
        function()
    return jobs


def _job(kernel: Any, grid: tuple[int, ...], arguments: dict[str, Any]) -> Job:
    signature, constants, aligned = {}, {}, []
    for name, value in arguments.items():
        if name in OPTIONS:
            continue
        if name.isupper():
            signature[name] = "constexpr"
            is_dtype = type(value).__name__ == "dtype"
            constants[name] = ["dtype", value.name] if is_dtype else value
        elif isinstance(value, torch.Tensor):
            signature[name] = POINTERS[value.dtype]
            if value.data_ptr() % 16 == 0:
                aligned.append(name)
        else:
            signature[name] = "fp32" if isinstance(value, float) else "i32"
    # Triton wants the order of the definition.
    ordered = {name: signature[name] for name in kernel.arg_names}
    place = f"{kernel.fn.__module__}:{kernel.__name__}"
    warps, stages = arguments.get("num_warps", 4), arguments.get("num_stages", 3)
    return Job(place, ordered, constants, tuple(aligned), warps, stages, grid)


def compile_jobs(
    jobs: Sequence[Job], capability: int, triton_path: str | None = None
) -> list[MachineCode]:
    """Compile for a compute capability (80, 90, 100) in one process without an interpreter.

    Args:
        jobs: what to compile.
        capability: ten times the compute capability.
        triton_path: folder that holds another Triton (``pip install --target``), put first.
    """
    keys = [json.dumps(asdict(replace(job, grid=()))) for job in jobs]
    distinct = list(dict.fromkeys(keys))
    environment = {k: v for k, v in os.environ.items() if not k.startswith("TRITON_")}
    paths = [triton_path, *sys.path] if triton_path else sys.path
    with tempfile.TemporaryDirectory() as cache:
        environment |= {
            "PYTHONPATH": os.pathsep.join(p for p in paths if p),
            "TRITON_CACHE_DIR": cache,
            "TRITON_DUMP_PTXAS_LOG": "1",
        }
        task = {"capability": capability, "jobs": [json.loads(key) for key in distinct]}
        done = subprocess.run(
            [sys.executable, "-m", "subkern.bench.machine_code"],
            input=json.dumps(task),
            capture_output=True,
            text=True,
            env=environment,
        )
    if done.returncode:
        raise RuntimeError(f"machine_code: the compiler failed:\n{done.stderr[-4000:]}")
    made = dict(zip(distinct, json.loads(done.stdout), strict=True))
    return [parse(*made[key]) for key in keys]


def parse(log: str, ptx: str) -> MachineCode:
    """Read the assembler's log (``ptxas -v``) and count instructions of the PTX."""

    def number(pattern: str) -> int:
        found = re.search(pattern, log)
        return int(found[1]) if found else 0

    return MachineCode(
        registers=number(r"Used (\d+) registers"),
        spill_bytes=number(r"(\d+) bytes spill stores") + number(r"(\d+) bytes spill loads"),
        stack_bytes=number(r"(\d+) bytes stack frame"),
        shared_bytes=number(r"shared_bytes (\d+)"),
        loads=accesses("ld", ptx),
        stores=accesses("st", ptx),
        copies=_copies(ptx),
        warpgroup_mma=len(re.findall(r"\bwgmma\.mma_async", ptx)),
        warp_mma=len(re.findall(r"\bmma\.sync", ptx)),
        ptx=ptx,
    )


def accesses(kind: str, ptx: str) -> dict[int, int]:
    """Accesses to global memory, "ld" or "st", counted by their bytes per thread."""
    counts: dict[int, int] = {}
    for instruction in re.findall(rf"\b{kind}\.global\S*", ptx):
        lanes = re.search(r"\.v(\d)\.", instruction)
        bits = re.search(r"\.[bfsu](\d+)$", instruction)
        if bits is not None:
            width = int(bits[1]) // 8 * (int(lanes[1]) if lanes else 1)
            counts[width] = counts.get(width, 0) + 1
    return counts


def _copies(ptx: str) -> dict[int, int]:
    counts: dict[int, int] = {}
    for size in re.findall(r"\bcp\.async\.c[ag]\.shared\.global[^;]*?\], 0x([0-9a-f]+)", ptx):
        width = int(size, 16)
        counts[width] = counts.get(width, 0) + 1
    return counts


def _compile(job: dict[str, Any], capability: int) -> tuple[str, str]:
    """(assembler's log, PTX) of one job, in this process."""
    import importlib

    import triton
    import triton.language as tl
    from triton.backends.compiler import GPUTarget
    from triton.compiler import ASTSource

    from subkern.backends.triton import launch

    module, _, name = job["kernel"].partition(":")
    kernel = getattr(importlib.import_module(module), name)
    constants = {
        key: tl.dtype(value[1]) if isinstance(value, list) else value
        for key, value in job["constants"].items()
    }
    order = list(job["signature"])
    attributes = {(order.index(key),): [["tt.divisibility", 16]] for key in job["aligned"]}
    source = ASTSource(kernel, job["signature"], constants, attributes)
    options = {"num_warps": job["warps"], "num_stages": job["stages"], **launch.OPTIONS}
    log = io.StringIO()
    with contextlib.redirect_stdout(log):
        compiled = triton.compile(source, GPUTarget("cuda", capability, 32), options)
    # The assembler does not see dynamic shared memory.
    shared = f"shared_bytes {compiled.metadata.shared}\n"
    return log.getvalue() + shared, compiled.asm["ptx"]


def main() -> int:
    """Compile the jobs on standard input and print their logs and PTX as JSON."""
    task = json.load(sys.stdin)
    print(json.dumps([_compile(job, task["capability"]) for job in task["jobs"]]))
    return 0


if __name__ == "__main__":
    sys.exit(main())
