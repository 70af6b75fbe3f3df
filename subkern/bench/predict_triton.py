"""What Triton makes of its kernels for compute capability 9.0: registers, memory, MMA."""

import os
from collections.abc import Callable, Mapping
from functools import partial
from importlib.metadata import PackageNotFoundError, version

import torch

CAPABILITY = 90
# Rows of the last matrix start at odd elements, as those of LLaMA-1B: no wide access fits them.
SHAPES, RANK = ((4096, 11008), (2048, 5464), (2048, 5461)), 256
TRITON_COLUMNS = (
    "kernel", "call", "warps", "registers", "shared, KB", "spills, B", "blocks per SM",
    "warps of 64", "wgmma", "mma.sync", "async copies", "loads", "stores",
)  # fmt: skip


class MissingCompilerError(RuntimeError):
    """A table needs a compiler that is not installed."""


def widths(counts: Mapping[int, int]) -> str:
    """Widths in bytes per thread, widest first: 16 B x 4."""
    return ", ".join(f"{width} B x {counts[width]}" for width in sorted(counts, reverse=True))


def _lowrank_call(rule: str, m: int, n: int) -> None:
    from subkern.ops import lowrank_adam_

    W, G = (torch.empty(m, n, dtype=torch.bfloat16) for _ in range(2))
    M, V = (torch.empty(RANK, n) for _ in range(2))
    t, skips, limiter = (torch.zeros(()) for _ in range(3))
    P = torch.empty(m, RANK, dtype=torch.bfloat16)
    state = ([W], [G], [P], [M], [V], [t], [skips], [limiter] if rule == "fira" else [])
    lowrank_adam_(*state, rule=rule, lr=0.01, scale=0.25, backend="triton")


def _adam_call(m: int, n: int) -> None:
    from subkern.ops import adam_

    W, G = (torch.empty(m, n, dtype=torch.bfloat16) for _ in range(2))
    M, V = (torch.empty(m, n) for _ in range(2))
    adam_([W], [G], [M], [V], [torch.zeros(())], [torch.zeros(())], lr=0.01, backend="triton")


def _gram_call(m: int, n: int, dtype: torch.dtype) -> None:
    from subkern.ops import gram

    gram(torch.empty(m, n, dtype=dtype), side="left", backend="triton")


def _vectors_call(groups: int, n: int) -> None:
    from subkern.ops.cg_step import cg_step_direction_, cg_step_residual_
    from subkern.ops.combine import combine
    from subkern.ops.group_dot import group_dot

    x, r, p, q = (torch.empty(groups, n) for _ in range(4))
    state, curvature = (torch.empty(groups, *k, dtype=torch.float64) for k in ((10,), ()))
    group_dot(p, q, backend="triton")
    cg_step_residual_(r, q, curvature, state, backend="triton")
    cg_step_direction_(x, p, r, state, backend="triton")
    basis = torch.empty(groups, 5, n), torch.empty(groups, 5, dtype=torch.float64)
    combine(x, *basis, backend="triton")


def triton_table() -> list[str]:
    """Every Triton kernel as the steps of the cases launch it."""
    try:
        release = version("triton")
    except PackageNotFoundError as error:
        raise MissingCompilerError("triton is not installed") from error
    # The launches are recorded in this process, which has no GPU, and compiled in another one.
    os.environ.setdefault("TRITON_INTERPRET", "1")
    from subkern.bench.machine_code import compile_jobs, record

    lines = [
        f"Triton {release}, sm_{CAPABILITY}, bf16 unless it says fp32, rank {RANK}:",
        "",
        f"| {' | '.join(TRITON_COLUMNS)} |",
        f"|{'---|' * len(TRITON_COLUMNS)}",
    ]
    calls: dict[str, Callable[[], None]] = {
        f"{rule} {m}x{n}": partial(_lowrank_call, rule, m, n)
        for m, n in SHAPES
        for rule in ("galore", "fira")
    }
    calls |= {f"adam {m}x{n}": partial(_adam_call, m, n) for m, n in SHAPES[:1]}
    for m, n in SHAPES:
        calls[f"gram left {m}x{n}"] = partial(_gram_call, m, n, torch.bfloat16)
    m, n = SHAPES[0]
    calls[f"gram left {m}x{n} fp32"] = partial(_gram_call, m, n, torch.float32)
    calls["vectors 8x65536 fp32"] = partial(_vectors_call, 8, 65536)
    labels, jobs = [], []
    for label, call in calls.items():
        found = record(call)
        labels += [label] * len(found)
        jobs += found
    for label, job, code in zip(labels, jobs, compile_jobs(jobs, CAPABILITY), strict=True):
        blocks = code.occupancy(job.warps)
        cells = [
            f"`{job.name}`", label, job.warps, code.registers, f"{code.shared_bytes / 1024:.0f}",
            code.spill_bytes, blocks, blocks * job.warps, code.warpgroup_mma, code.warp_mma,
            widths(code.copies) or "-", widths(code.loads) or "-", widths(code.stores) or "-",
        ]  # fmt: skip
        lines.append(f"| {' | '.join(map(str, cells))} |")
    return lines
