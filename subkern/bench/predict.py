"""What the kernels should cost on an H100, computed on a machine without one: docs/gpu.md.

python -m subkern.bench.predict [--write | --check] [docs/gpu.md]

Prints the tables, writes them between the page's markers, or checks that they stand there. Bytes
and FLOPs come from the formulas of the cases, stages from the backend's plan of a call, and what
becomes of the kernels from the compilers, where Triton and nvcc are installed.
"""

import argparse
import math
import re
import sys
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch

from subkern.bench import gram, lowrank_adam, lowrank_adam_gpu, pages, predict_nvcc, predict_triton
from subkern.bench.cases import all_cases
from subkern.bench.h100 import COPY_BYTES_S, RATES, SMS, floor_s
from subkern.bench.lowrank_adam import RULES
from subkern.bench.registry import DTYPES, Case
from subkern.bench.targets import Budget
from subkern.triton_kernels.configs import CACHE_RATE, symmetric_tile

# Of a multiprocessor: shared memory that blocks may have, and blocks at a time.
SM_SHARED, SM_BLOCKS = 227 * 1024, 32
STEP_OPTIONS = dict(
    beta1=0.9, beta2=0.999, eps=1e-6, weight_decay=0.0, correct_bias=True, decay="post",
    scale=0.25, gamma=1.01, norm_eps=1e-8, alpha_in_residual=True, granularity="column",
    skip_nonfinite=True,
)  # fmt: skip


LINALG_COLUMNS = (
    "case", "floor, ms (predicted)", "bound by", "budget, ms (goal)", "budget / floor",
    "blocks per SM", "waves", "one launch, ms (predicted)",
)  # fmt: skip
GRAM_COLUMNS = (
    "case", "tile", "tiles", "floor, ms (predicted)", "cache, ms (predicted)",
    "one launch, ms (predicted)", "whole product at peak, ms (predicted)",
)  # fmt: skip


@dataclass(frozen=True)
class Stage:
    """One launch: bytes of tensors and of scratch, what multiprocessors and L2 exchange, FLOPs."""

    name: str
    tensors: int
    scratch: int
    cache: int
    flops: int

    def seconds(self, dtype: str) -> float:
        """Predicted: the slowest of memory (scratch counts), L2 cache and arithmetic."""
        memory = floor_s(self.tensors + self.scratch, self.flops, dtype)
        return max(memory, self.cache / CACHE_RATE)


def plan_of(rule: str, m: int, n: int, rank: int, dtype: str) -> Any:
    """The plan that the Triton and the CUDA backend follow for such a matrix."""
    from subkern.backends.triton.lowrank_plan import make_plan

    kind, right, k = DTYPES[dtype], right_of(m, n), min(m, n)
    call = STEP_OPTIONS | {
        "params": [torch.empty(m, n, dtype=kind, device="meta")],
        "bases": [torch.empty(k, rank, dtype=kind, device="meta")],
        "lr": torch.tensor(0.01),
        "side": "right" if right else "left",
        "rule": rule,
    }
    return make_plan(call)


def stages(rule: str, m: int, n: int, rank: int, dtype: str) -> list[Stage]:
    """The three launches of one matrix."""
    plan, kind = plan_of(rule, m, n, rank, dtype), DTYPES[dtype]
    k, q = min(m, n), max(m, n)
    item, whole, basis = kind.itemsize, m * n * kind.itemsize, k * rank * kind.itemsize
    low = plan.rows * plan.ld
    partials, moments = 4 * plan.slices * low, 16 * rank * q
    copies = low * item * (2 if plan.fira else 1)
    squares = 4 * plan.square_slices * plan.columns if plan.fira else 0
    product, weights = 2 * m * n * rank, (3 if plan.fira else 2) * whole
    # Fira forms D from N and R, which lie where the weights' larger dimension is.
    tile, sums = plan.update.tile, plan.project
    low_rank = (tile.m if right_of(m, n) else tile.n) if plan.fira else 0
    operands = plan.update.tiles * (tile.m + tile.n + low_rank) * rank * item
    read = sums.tiles * (sums.tile.m + sums.tile.n) * sums.length * item
    return [
        Stage("project", whole + basis, partials + squares, read + partials + squares, product),
        Stage("moments", moments, partials + squares + copies, 0, 0),
        Stage("update", weights + basis, copies, operands + weights, product),
    ]


def right_of(m: int, n: int) -> bool:
    """Whether the standard rule projects an m x n gradient on the right."""
    return m >= n


def _ms(seconds: float) -> str:
    return f"{1e3 * seconds:.3f}"


def floors() -> list[str]:
    """Every GPU case: bytes, FLOPs, floor."""
    lines = [
        "| case | MB | GFLOP | floor, ms (predicted) | bound by | dense AdamW, ms (predicted) |",
        "|---|---|---|---|---|---|",
    ]
    for case in all_cases(device="cuda"):
        memory, arithmetic = case.bytes / COPY_BYTES_S, case.flops / RATES[case.dtype]
        bound = "memory" if memory >= arithmetic else "products"
        lines.append(
            f"| {case.name} | {case.bytes / 1e6:.1f} | {case.flops / 1e9:.1f} | "
            f"{_ms(max(memory, arithmetic))} | {bound} | {_dense(case)} |"
        )
    return lines


def _dense(case: Case) -> str:
    """W, M and V read and written and G read, all in the weight's dtype; of optimizer steps."""
    shape, dtype = case.shape, case.dtype
    if case.op != lowrank_adam.OP:
        return ""
    if shape in lowrank_adam_gpu.GPU_SETS:
        matrices = lowrank_adam_gpu.GPU_SETS[shape].matrices()
        count = sum(m * n for m, n in matrices.projected + matrices.plain)
    elif re.fullmatch(r"\d+x\d+", shape):
        m, n = map(int, shape.split("x"))
        count = m * n
    else:
        return ""
    return _ms(7 * count * DTYPES[dtype].itemsize / COPY_BYTES_S)


def stage_table() -> list[str]:
    """Single matrices in bf16: predicted time of each launch, and their sum over the floor."""
    from subkern.bench.lowrank_adam import step_bytes, step_flops

    lines = [
        "| predicted, ms | rule | slices | project | moments | update | sum | sum / floor |",
        "|---|---|---|---|---|---|---|---|",
    ]
    for m, n in (*lowrank_adam_gpu.LARGE, *lowrank_adam_gpu.WIDTHS):
        for rank in sorted(lowrank_adam_gpu.RANKS):
            for rule in RULES:
                found = stages(rule, m, n, rank, "bf16")
                times = [stage.seconds("bf16") for stage in found]
                floor = floor_s(step_bytes(rule, m, n, rank, 2), step_flops(m, n, rank), "bf16")
                cells = [f"{m}x{n} r{rank}", rule, str(plan_of(rule, m, n, rank, "bf16").slices)]
                cells += [_ms(t) for t in (*times, sum(times))] + [f"{sum(times) / floor:.2f}"]
                lines.append(f"| {' | '.join(cells)} |")
    return lines


@dataclass(frozen=True)
class Blocks:
    """A kernel that holds a matrix per block in shared memory, one read and one write."""

    blocks: int
    shared: int
    nbytes: int

    @property
    def per_sm(self) -> int:
        """Blocks of a multiprocessor, by shared memory alone."""
        return min(SM_BLOCKS, SM_SHARED // self.shared)

    @property
    def waves(self) -> float:
        """How often all multiprocessors are filled."""
        return self.blocks / (self.per_sm * SMS)

    def seconds(self) -> float:
        """Predicted: memory traffic, of several waves the last as long as a full one."""
        longer = math.ceil(self.waves) / self.waves if self.waves > 1 else 1.0
        return self.nbytes / COPY_BYTES_S * longer


def blocks_of(case: Case) -> Blocks | None:
    """How the kernels of thin batches lie on the device; None for other cases.

    Scratch beside the matrix (Gram, factor, inverse in float64) is counted as three k x k.
    """
    if case.op not in ("orthonormalize", "svd_small"):
        return None
    m, k = map(int, case.shape.split("x"))
    shared = 4 * m * k + 3 * 8 * k * k
    if m == k or k > 32 or shared > SM_SHARED:
        return None
    return Blocks(case.batch, shared, case.bytes)


def linalg_table() -> list[str]:
    """The budgets of the linear algebra ops beside their floors."""
    lines = [
        f"| {' | '.join(LINALG_COLUMNS)} |",
        f"|{'---|' * len(LINALG_COLUMNS)}",
    ]
    for case in all_cases(device="cuda"):
        goal = next((t.seconds for t in case.targets if isinstance(t, Budget)), None)
        if goal is None:
            continue
        memory, arithmetic = case.bytes / COPY_BYTES_S, case.flops / RATES[case.dtype]
        floor, bound = max(memory, arithmetic), "memory" if memory >= arithmetic else "arithmetic"
        cells = [case.name, _ms(floor), bound, _ms(goal), f"{goal / floor:.1f}"]
        if (found := blocks_of(case)) is None:
            cells += ["", "", ""]
        else:
            cells += [str(found.per_sm), f"{found.waves:.2f}", _ms(found.seconds())]
        lines.append(f"| {' | '.join(cells)} |")
    return lines


def gram_table() -> list[str]:
    """Symmetric products by Triton: half of the tiles, each reads both of its operands."""
    lines = [f"| {' | '.join(GRAM_COLUMNS)} |", f"|{'---|' * len(GRAM_COLUMNS)}"]
    for case in all_cases(device="cuda"):
        if case.op != gram.OP or "fp64" in case.name:
            continue  # float64 sums are torch's product
        side, depth = sorted(map(int, case.shape.split("x")))
        item = DTYPES[case.dtype].itemsize
        tile = symmetric_tile(side, item, True)
        rows = math.ceil(side / tile.m)
        tiles = rows * (rows + 1) // 2
        cache = tiles * 2 * tile.m * depth * item / CACHE_RATE
        floor = floor_s(case.bytes, case.flops, case.dtype)
        cells = [case.name, f"{tile.m}x{tile.m}", str(tiles), _ms(floor), _ms(cache)]
        cells += [_ms(max(floor, cache)), _ms(2 * case.flops / RATES[case.dtype])]
        lines.append(f"| {' | '.join(cells)} |")
    return lines


SECTIONS: dict[str, Callable[[], list[str]]] = {
    "floors": floors,
    "stages": stage_table,
    "linalg": linalg_table,
    "gram": gram_table,
    "triton": predict_triton.triton_table,
    "nvcc": predict_nvcc.kernel_table,
    "launches": predict_nvcc.launch_table,
}


def section_of(page: str, name: str) -> str | None:
    """What stands between a section's markers; None without them."""
    return pages.section(page, f"predict: {name}")


def main(argv: Sequence[str]) -> int:
    """Print, write or check the tables: exit code 1 when the page says something else."""
    parser = argparse.ArgumentParser(
        prog="python -m subkern.bench.predict", description=__doc__.partition("\n")[0]
    )
    mode = parser.add_mutually_exclusive_group()
    mode.add_argument("--write", action="store_true", help="write the tables into the page")
    mode.add_argument("--check", action="store_true", help="compare the tables with the page")
    parser.add_argument("page", nargs="?", type=Path, default=Path("docs/gpu.md"))
    options = parser.parse_args(argv)
    if (options.write or options.check) and not options.page.is_file():
        parser.error(f"page must be a file, got {options.page}")
    page = options.page.read_text() if options.write or options.check else ""
    stale = []
    for name, build in SECTIONS.items():
        try:
            lines = build()
        except predict_triton.MissingCompilerError as error:
            print(f"{name}: left as it is: {error}", file=sys.stderr)
            continue
        if options.write:
            page = pages.replaced(page, f"predict: {name}", lines)
        elif not options.check:
            print("\n".join([f"## {name}", "", *lines, ""]))
        elif section_of(page, name) != "\n".join(lines):
            stale.append(name)
    if options.write:
        options.page.write_text(page)
    for name in stale:
        print(f"{options.page}: section {name} must be what this command writes", file=sys.stderr)
    return 1 if stale else 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
