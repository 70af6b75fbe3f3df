"""What singular values and vectors of many small or thin matrices cost, beside torch.linalg.svd."""

from collections.abc import Sequence
from functools import partial
from typing import Any

import torch
from torch import Tensor

from subkern.bench import accuracy, linalg
from subkern.bench.linalg import ITEMSIZE, normal_batch
from subkern.bench.registry import Case, Setup

OP = "svd_small"
# Sweeps that normal matrices take on average.
SWEEPS = 5
# Batch, rows, columns, and the least speed-up over torch.linalg.svd on one thread of a CPU.
SHAPES: tuple[tuple[int, int, int, float | None], ...] = (
    (4096, 8, 8, 10.0),
    (2048, 16, 16, 6.0),
    (1024, 32, 32, 3.0),
    (256, 64, 64, None),
    (1000, 64, 8, 8.0),
    (1000, 512, 8, 4.0),
    (256, 2048, 8, 2.5),
)
# On an H100: batch, rows, columns, seconds.
GPU_SHAPES: tuple[tuple[int, int, int, float], ...] = (
    (1000, 2048, 8, 120e-6),
    (4096, 8, 8, 15e-6),
    (4096, 16, 16, 100e-6),
    (4096, 32, 32, 600e-6),
    (1024, 64, 64, 3e-3),
)


def cost(m: int, n: int, dtype: str) -> tuple[int, int]:
    """Bytes and FLOPs of one matrix: A read, the factors written; rotations of R and V, products.

    A rotation of two columns and of their rows in V takes 12 n FLOPs with its inner product 2 n.
    """
    long, short = max(m, n), min(m, n)
    out = 4 * (long * short + short + short * short)
    rotations = SWEEPS * short * (short - 1) // 2 * 14 * short
    preparation = 6 * long * short * short + 2 * long * short * short
    return long * short * ITEMSIZE[dtype] + out, rotations + preparation


def setup(batch: int, m: int, n: int, dtype: str, where: str, quick: bool) -> Setup:
    """Ours and torch.linalg.svd."""
    import subkern

    del quick
    A = normal_batch(batch, m, n, dtype, where)

    def ours(A: Tensor, backend: str) -> Any:
        return subkern.svd_small(A, backend=backend)

    slow = linalg.one_by_one(where, m, n)
    if slow:
        torch.linalg.svd(A[:1].float(), full_matrices=False)  # the library's workspace
    return linalg.competitors(
        partial(ours, A),
        partial(ours, A[:1]),
        {"linalg-svd": lambda: torch.linalg.svd(A.float(), full_matrices=False)},
        lambda result: accuracy.svd(A, *result),
        where,
        two_threads=batch >= linalg.SECOND_THREAD_BATCH,
        notes={"linalg-svd": "of the batch widened to float32"} if dtype == "bf16" else None,
        once=("linalg-svd",) if slow else (),
    )


def _case(
    batch: int, m: int, n: int, dtype: str, where: str, floor: float | None, budget: float | None
) -> Case:
    bounds = linalg.targets(floor, "linalg-svd", batch, where=where, budget_s=budget)
    make = partial(setup, batch, m, n, dtype, where)
    return linalg.batch_case(OP, batch, m, n, dtype, make, cost(m, n, dtype), bounds)


def cases() -> list[Case]:
    """Square and thin batches."""
    return [_case(b, m, n, "fp32", "cpu", floor, None) for b, m, n, floor in SHAPES]


def gpu_cases(
    where: str = "cuda", shapes: Sequence[tuple[int, int, int, float]] = GPU_SHAPES
) -> list[Case]:
    """The shapes that budgets speak of."""
    return [_case(b, m, n, "fp32", where, None, budget) for b, m, n, budget in shapes]
