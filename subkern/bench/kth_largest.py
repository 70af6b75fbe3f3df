"""What the k-th largest of many numbers costs, beside torch's sort, topk and kthvalue."""

from collections.abc import Sequence
from functools import partial
from typing import Any

import torch
from torch import Tensor

from subkern.bench import linalg
from subkern.bench.accuracy import Error
from subkern.bench.linalg import ITEMSIZE, SECOND_THREAD
from subkern.bench.registry import DTYPES, Case, Setup
from subkern.bench.targets import Budget, Target

OP = "kth_largest"
# Numbers, and the share of them that is above.
SIZES = ((2_400_000, 0.1), (8_000_000, 0.1), (8_000_000, 0.5))
SPEEDUP = 15.0
DIGITS = {"fp32": 3, "bf16": 2}  # of a key, and reads of the numbers on a GPU
# Seconds on an H100, by numbers and dtype: 1.7 times the bytes at 3 TB/s.
GPU_BUDGETS = {(8_000_000, "fp32"): 55e-6}


def numbers(n: int, dtype: str, where: str = "cpu") -> Tensor:
    """Normal numbers."""
    return torch.randn(n, generator=torch.Generator().manual_seed(n)).to(where, DTYPES[dtype])


def errors(truth: float, found: Tensor) -> list[Error]:
    """The value itself: nothing but equality will do."""
    return [Error("difference", abs(found.item() - truth), 0.0)]


def setup(n: int, share: float, dtype: str, where: str, quick: bool) -> Setup:
    """Ours, a full sort, the k largest, and torch's k-th smallest."""
    import subkern

    del quick
    x, k = numbers(n, dtype, where), round(share * n)
    truth = float(x.sort(descending=True).values[k - 1])

    def ours(x: Tensor, k: int, backend: str) -> Any:
        return subkern.kth_largest(x, k, backend=backend)

    return linalg.competitors(
        partial(ours, x, k),
        partial(ours, x[:9], 3),
        {
            "sort": lambda: torch.sort(x, descending=True).values[k - 1],
            "topk": lambda: torch.topk(x, k, sorted=False).values.amin(),
            "kthvalue": lambda: torch.kthvalue(x, n - k + 1).values,
        },
        partial(errors, truth),
        where,
        two_threads=True,
    )


def cost(n: int, dtype: str, where: str = "cpu") -> int:
    """Bytes: every number is read once, or on a GPU once for each digit."""
    reads = 1 if torch.device(where).type == "cpu" else DIGITS[dtype]
    return n * reads * ITEMSIZE[dtype]


def _case(
    n: int, share: float, dtype: str, where: str, bounds: tuple[Target | Budget, ...]
) -> Case:
    return Case(
        name=f"{OP}-{n}-top{round(100 * share)}-{dtype}",
        op=OP,
        shape=str(n),
        dtype=dtype,
        setup=partial(setup, n, share, dtype, where),
        bytes=cost(n, dtype, where),
        flops=0,
        targets=bounds,
    )


def cases() -> list[Case]:
    """Scores of a small and of a larger set of weights."""
    bounds = (
        Target("step", "sort", "speedup", SPEEDUP),
        Target("step", "subkern", "speedup", SECOND_THREAD, variant="subkern-2"),
    )
    return [_case(n, share, dtype, "cpu", bounds) for n, share in SIZES for dtype in ITEMSIZE]


def gpu_cases(where: str = "cuda", sizes: Sequence[tuple[int, float]] = SIZES[::2]) -> list[Case]:
    """The same on a GPU; the larger in float32 has a budget."""
    return [
        _case(n, share, dtype, where, budget(GPU_BUDGETS.get((n, dtype))))
        for n, share in sizes
        for dtype in ITEMSIZE
    ]


def budget(seconds: float | None) -> tuple[Budget, ...]:
    """A bound on a step, where there is one."""
    return () if seconds is None else (Budget("step", seconds),)
