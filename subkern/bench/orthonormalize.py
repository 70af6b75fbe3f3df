"""What an orthonormal basis of many matrices' columns costs, beside torch.linalg.qr."""

from collections.abc import Sequence
from functools import partial
from typing import Any

import torch
from torch import Tensor

from subkern.bench import accuracy, linalg
from subkern.bench.linalg import ITEMSIZE, normal_batch
from subkern.bench.registry import Case, Setup

OP = "orthonormalize"
# Batch, rows, columns, and the least speed-up over torch.linalg.qr on one thread of a CPU.
SHAPES: tuple[tuple[int, int, int, float | None], ...] = (
    (1000, 64, 8, 3.0),
    (256, 2048, 8, 2.5),
    (256, 512, 32, None),
    (1, 4096, 256, None),
)
# On an H100: batch, rows, columns, seconds.
GPU_SHAPES: tuple[tuple[int, int, int, float], ...] = (
    (1000, 2048, 8, 90e-6),
    (1000, 64, 8, 8e-6),
    (1, 4096, 256, 120e-6),
    (1, 4096, 1024, 1e-3),
)


def cost(m: int, k: int, dtype: str) -> tuple[int, int]:
    """Bytes and FLOPs of one matrix: Y read, Q and R written; two passes of Gram and product.

    A Gram matrix is computed by half, m k^2 FLOPs, in float64: twice the time of float32.
    """
    return m * k * (ITEMSIZE[dtype] + 4) + 4 * k * k, 2 * (2 * m * k * k + m * k * k)


def setup(batch: int, m: int, k: int, dtype: str, where: str, quick: bool) -> Setup:
    """Ours with R, and torch.linalg.qr."""
    import subkern

    del quick
    Y = normal_batch(batch, m, k, dtype, where)

    def ours(Y: Tensor, backend: str) -> Any:
        return subkern.orthonormalize(Y, return_r=True, backend=backend)

    return linalg.competitors(
        partial(ours, Y),
        partial(ours, Y[:1]),
        {"linalg-qr": lambda: torch.linalg.qr(Y.float())},
        lambda result: accuracy.qr(Y, *result),
        where,
        two_threads=batch >= linalg.SECOND_THREAD_BATCH,
        notes={"linalg-qr": "of the batch widened to float32"} if dtype == "bf16" else None,
    )


def _case(
    batch: int, m: int, k: int, dtype: str, where: str, floor: float | None, budget: float | None
) -> Case:
    bounds = linalg.targets(floor, "linalg-qr", batch, where=where, budget_s=budget)
    make = partial(setup, batch, m, k, dtype, where)
    return linalg.batch_case(OP, batch, m, k, dtype, make, cost(m, k, dtype), bounds)


def cases() -> list[Case]:
    """Batches of thin matrices, wider ones, and one of many columns; bfloat16 once."""
    made = [_case(b, m, k, "fp32", "cpu", floor, None) for b, m, k, floor in SHAPES]
    return [*made, _case(256, 2048, 8, "bf16", "cpu", None, None)]


def gpu_cases(
    where: str = "cuda", shapes: Sequence[tuple[int, int, int, float]] = GPU_SHAPES
) -> list[Case]:
    """The shapes that budgets speak of."""
    return [_case(b, m, k, "fp32", where, None, budget) for b, m, k, budget in shapes]
