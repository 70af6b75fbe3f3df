"""What eigenvalues and vectors of many small symmetric matrices cost, beside torch.linalg.eigh."""

from collections.abc import Sequence
from functools import partial
from typing import Any

import torch
from torch import Tensor

from subkern.bench import accuracy, linalg
from subkern.bench.linalg import normal_batch
from subkern.bench.registry import Case, Setup
from subkern.bench.svd_small import SWEEPS

OP = "eigh_small"
SHAPES = ((4096, 8), (2048, 16), (1024, 32), (256, 64))
GPU_SHAPES = ((4096, 16), (4096, 32), (1024, 64))


def cost(n: int) -> tuple[int, int]:
    """Bytes and FLOPs of one matrix: C read, w and V written; rotations of both sides and of V."""
    return 4 * (2 * n * n + n), SWEEPS * n * (n - 1) // 2 * 18 * n


def setup(batch: int, n: int, where: str, quick: bool) -> Setup:
    """Ours and torch.linalg.eigh."""
    import subkern

    del quick
    X = normal_batch(batch, n, n, "fp32", where)
    C = X + X.mT

    def ours(C: Tensor, backend: str) -> Any:
        return subkern.eigh_small(C, backend=backend)

    slow = linalg.one_by_one(where, n, n)
    if slow:
        torch.linalg.eigh(C[:1])  # the library's workspace
    return linalg.competitors(
        partial(ours, C),
        partial(ours, C[:1]),
        {"linalg-eigh": lambda: torch.linalg.eigh(C)},
        lambda result: accuracy.eigh(C, *result),
        where,
        two_threads=batch >= linalg.SECOND_THREAD_BATCH,
        once=("linalg-eigh",) if slow else (),
    )


def _case(batch: int, n: int, where: str) -> Case:
    bounds = linalg.targets(None, "linalg-eigh", batch, where=where)
    make = partial(setup, batch, n, where)
    return linalg.batch_case(OP, batch, n, n, "fp32", make, cost(n), bounds)


def cases() -> list[Case]:
    """The sizes of svd_small."""
    return [_case(batch, n, "cpu") for batch, n in SHAPES]


def gpu_cases(where: str = "cuda", shapes: Sequence[tuple[int, int]] = GPU_SHAPES) -> list[Case]:
    """The same on a GPU, without a budget."""
    return [_case(batch, n, where) for batch, n in shapes]
