"""What the k-th largest of many numbers costs, beside torch's sort, topk and kthvalue."""

from functools import partial
from typing import Any

import torch
from torch import Tensor

from subkern.bench import linalg
from subkern.bench.accuracy import Error
from subkern.bench.linalg import ITEMSIZE, SECOND_THREAD
from subkern.bench.registry import DTYPES, Case, Setup
from subkern.bench.targets import Target

OP = "kth_largest"
# Numbers, and the share of them that is above.
SIZES = ((2_400_000, 0.1), (8_000_000, 0.1), (8_000_000, 0.5))
SPEEDUP = 15.0


def numbers(n: int, dtype: str) -> Tensor:
    """Normal numbers."""
    return torch.randn(n, generator=torch.Generator().manual_seed(n)).to(DTYPES[dtype])


def errors(truth: float, found: Tensor) -> list[Error]:
    """The value itself: nothing but equality will do."""
    return [Error("difference", abs(found.item() - truth), 0.0)]


def setup(n: int, share: float, dtype: str, quick: bool) -> Setup:
    """Ours, a full sort, the k largest, and torch's k-th smallest."""
    import subkern

    del quick
    x, k = numbers(n, dtype), round(share * n)
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
        "cpu",
        two_threads=True,
    )


def _case(n: int, share: float, dtype: str) -> Case:
    return Case(
        name=f"{OP}-{n}-top{round(100 * share)}-{dtype}",
        op=OP,
        shape=str(n),
        dtype=dtype,
        setup=partial(setup, n, share, dtype),
        bytes=n * ITEMSIZE[dtype],
        flops=0,
        targets=(
            Target("step", "sort", "speedup", SPEEDUP),
            Target("step", "subkern", "speedup", SECOND_THREAD, variant="subkern-2"),
        ),
    )


def cases() -> list[Case]:
    """Scores of a small and of a larger set of weights."""
    return [_case(n, share, dtype) for n, share in SIZES for dtype in ITEMSIZE]
