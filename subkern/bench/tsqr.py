"""What the QR of a tall matrix costs on one rank, beside torch.linalg.qr."""

from collections.abc import Sequence
from functools import partial
from typing import Any

import torch

from subkern.bench import accuracy, linalg
from subkern.bench.linalg import ITEMSIZE, normal_batch
from subkern.bench.registry import Case, Setup

OP = "tsqr"
SHAPES = ((65536, 64), (16384, 256))


def setup(m: int, k: int, where: str, quick: bool) -> Setup:
    """Ours without a process group, and torch.linalg.qr."""
    import subkern

    del quick
    Y = normal_batch(1, m, k, "fp32", where)[0]

    def ours(backend: str) -> Any:
        del backend  # plain Python over the ops
        return subkern.tsqr(Y)

    return linalg.competitors(
        ours,
        ours,
        {"linalg-qr": lambda: torch.linalg.qr(Y)},
        lambda found: accuracy.qr(Y, *found[:2]),
        where,
    )


def cases(where: str = "cpu", shapes: Sequence[tuple[int, int]] = SHAPES) -> list[Case]:
    """A thin matrix and a wider one."""
    return [
        Case(
            name=f"{OP}-{m}x{k}-fp32",
            op=OP,
            shape=f"{m}x{k}",
            dtype="fp32",
            setup=partial(setup, m, k, where),
            # Two passes, each reads the matrix for its Gram and for its product, and writes one.
            bytes=6 * m * k * ITEMSIZE["fp32"],
            flops=2 * (2 * m * k * k + m * k * k),
        )
        for m, k in shapes
    ]
