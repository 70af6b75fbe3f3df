"""What a swap of a mask's entries costs, beside torch's topk and sort."""

from collections.abc import Sequence
from functools import partial
from typing import Any

import torch
from torch import Tensor

from subkern.bench import linalg
from subkern.bench.accuracy import Error
from subkern.bench.kth_largest import DIGITS, budget, numbers
from subkern.bench.linalg import ITEMSIZE, SECOND_THREAD
from subkern.bench.registry import Case, Setup
from subkern.bench.targets import Budget, Target

OP = "update_mask"
# Entries, share inside the mask, share of those that is swapped.
SIZES = ((2_400_000, 0.1, 0.3), (8_000_000, 0.1, 0.1))
SPEEDUP = 10.0
# Seconds on an H100, by entries and dtype: 1.6 times the bytes at 3 TB/s.
GPU_BUDGETS = {(8_000_000, "fp32"): 200e-6}


def problem(
    n: int, density: float, dtype: str, where: str = "cpu"
) -> tuple[Tensor, Tensor, Tensor]:
    """Scores of both kinds and a random mask."""
    mask = torch.rand(n, generator=torch.Generator().manual_seed(n + 1)) < density
    return numbers(n, dtype, where), numbers(n + 1, dtype, where)[:n], mask.to(where)


def by_topk(remove: Tensor, add: Tensor, mask: Tensor, count: int) -> tuple[Tensor, ...]:
    """As anybody would write it: the other side filled up, the best of what is left."""
    removed = remove.masked_fill(~mask, torch.inf).topk(count, largest=False).indices
    added = add.masked_fill(mask, -torch.inf).topk(count).indices
    updated = mask.clone()
    updated[removed], updated[added] = False, True
    return updated, removed.sort().values, added.sort().values


def by_sort(remove: Tensor, add: Tensor, mask: Tensor, count: int) -> tuple[Tensor, ...]:
    """By two full sorts, as published code for sparse training does."""
    removed = remove.masked_fill(~mask, torch.inf).sort().indices[:count]
    added = add.masked_fill(mask, -torch.inf).sort(descending=True).indices[:count]
    updated = mask.clone()
    updated[removed], updated[added] = False, True
    return updated, removed.sort().values, added.sort().values


def errors(truth: Sequence[Tensor], mask: Tensor, found: Sequence[Tensor]) -> list[Error]:
    """Entries of the mask and of the lists that differ, and the change of the count."""
    differ = sum(int((a != b).sum()) for a, b in zip(found, truth, strict=True))
    change = abs(int(found[0].sum()) - int(mask.sum()))
    return [Error("differ", float(differ), 0.0), Error("count", float(change), 0.0)]


def setup(n: int, density: float, swapped: float, dtype: str, where: str, quick: bool) -> Setup:
    """Ours, two calls of topk, two sorts."""
    import subkern

    del quick
    remove, add, mask = problem(n, density, dtype, where)
    count = round(swapped * density * n)
    truth = subkern.update_mask(remove, add, mask, count, backend="reference")

    def ours(part: slice, count: int, backend: str) -> Any:
        return subkern.update_mask(remove[part], add[part], mask[part], count, backend=backend)

    ties = "which of equal scores is taken is left open"
    return linalg.competitors(
        partial(ours, slice(None), count),
        partial(ours, slice(9), 0),
        {
            "topk": partial(by_topk, remove, add, mask, count),
            "sort": partial(by_sort, remove, add, mask, count),
        },
        partial(errors, truth, mask),
        where,
        two_threads=True,
        notes={"topk": ties, "sort": ties},
    )


def cost(n: int, dtype: str, where: str = "cpu") -> int:
    """Bytes: the mask is counted and copied, and read with each score; the scores twice.

    On a GPU the mask and the scores are read for each digit, to count and to swap.
    """
    if torch.device(where).type != "cpu":
        return n * ((DIGITS[dtype] + 2) * (1 + 2 * ITEMSIZE[dtype]) + 1)
    return n * (1 + 2 * (1 + ITEMSIZE[dtype]) + 1 + 2 * ITEMSIZE[dtype] + 1)


def _case(
    n: int,
    density: float,
    swapped: float,
    dtype: str,
    where: str,
    bounds: tuple[Target | Budget, ...],
) -> Case:
    return Case(
        name=f"{OP}-{n}-{dtype}",
        op=OP,
        shape=str(n),
        dtype=dtype,
        setup=partial(setup, n, density, swapped, dtype, where),
        bytes=cost(n, dtype, where),
        flops=0,
        targets=bounds,
    )


def cases() -> list[Case]:
    """The selection's sizes at a tenth of the weights."""
    bounds = (
        Target("step", ("topk", "sort"), "speedup", SPEEDUP),
        Target("step", "subkern", "speedup", SECOND_THREAD, variant="subkern-2"),
    )
    return [_case(*size, dtype, "cpu", bounds) for size in SIZES for dtype in ITEMSIZE]


def gpu_cases(where: str = "cuda", sizes: Sequence[tuple[int, float, float]] = SIZES) -> list[Case]:
    """The same on a GPU; the larger in float32 has a budget."""
    return [
        _case(*size, dtype, where, budget(GPU_BUDGETS.get((size[0], dtype))))
        for size in sizes
        for dtype in ITEMSIZE
    ]
