"""What the QR of a tall matrix costs in one process, beside torch.linalg.qr."""

from collections.abc import Sequence
from functools import partial
from typing import Any

import torch
from torch import Tensor

from subkern.bench import accuracy, linalg
from subkern.bench.linalg import ITEMSIZE, normal_batch
from subkern.bench.registry import Case, Setup

OP = "tsqr"
SHAPES = ((65536, 64), (16384, 256))


def cost(m: int, k: int) -> tuple[int, int]:
    """Bytes and FLOPs of two passes: Y read for the Gram matrix and for Q, which is written.

    All products are in float64, counted twice, and whole: torch knows no half of them.
    """
    return 2 * 3 * m * k * ITEMSIZE["fp32"], 2 * 2 * (2 * m * k * k + 2 * m * k * k)


def setup(m: int, k: int, where: str, quick: bool) -> Setup:
    """Ours without a process group, and torch.linalg.qr of the whole."""
    import subkern

    del quick
    Y = normal_batch(1, m, k, "fp32", where)[0]

    def ours(Y: Tensor, backend: str) -> Any:
        return subkern.tsqr(Y, backend=backend)

    return linalg.competitors(
        partial(ours, Y),
        partial(ours, Y[: 4 * k]),
        {"linalg-qr": lambda: torch.linalg.qr(Y)},
        lambda found: accuracy.qr(Y, *found[:2]),
        where,
        capturable=False,
    )


def cases(where: str = "cpu", shapes: Sequence[tuple[int, int]] = SHAPES) -> list[Case]:
    """A thin matrix and a wider one."""
    made = []
    for m, k in shapes:
        nbytes, flops = cost(m, k)
        made.append(
            Case(
                name=f"{OP}-{m}x{k}-fp32",
                op=OP,
                shape=f"{m}x{k}",
                dtype="fp32",
                setup=partial(setup, m, k, where),
                bytes=nbytes,
                flops=flops,
            )
        )
    return made


def gpu_cases(where: str = "cuda", shapes: Sequence[tuple[int, int]] = SHAPES) -> list[Case]:
    """The same on a GPU."""
    return cases(where, shapes)
