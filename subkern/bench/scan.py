"""What a look at a matrix costs: largest magnitude, squares, whether all is finite, in one read."""

from __future__ import annotations

from functools import partial
from typing import Any

import torch
from torch import Tensor

from subkern.bench import linalg, vectors
from subkern.bench.accuracy import Error
from subkern.bench.linalg import ITEMSIZE
from subkern.bench.registry import Case, Setup

OP = "scan"
# Batch, rows, columns.
SHAPES = ((1, 64, 64), (1, 320, 320), (1, 1024, 2736), (8, 256, 256))


def errors(exact: Tensor, found: Tensor) -> list[Error]:
    """Of the largest nothing, of the squares rounding of float64, of the flags nothing."""
    gap = (found - exact).abs()
    squares = gap[:, 1] / exact[:, 1]
    return [
        Error("largest", float(gap[:, 0].max()), 0.0),
        Error("squares", float(squares.max()), 1e-14),
        Error("flags", float(gap[:, 2].max()), 0.0),
    ]


def three(largest: Tensor, squares: Tensor, bad: Tensor) -> Tensor:
    """(b, 3) float64, as the op answers."""
    return torch.stack([largest.double(), squares.double(), bad.double()], 1)


def widened(X: Tensor) -> Tensor:
    """Squares and sums in float64, as ours are."""
    wide = X.flatten(1).double()
    finite = torch.isfinite(wide).all(1)
    return three(wide.abs().amax(1), wide.square().sum(1), ~finite)


def eager(X: Tensor) -> Tensor:
    """Squares in the dtype given, summed in float32."""
    flat = X.flatten(1)
    finite = torch.isfinite(flat).all(1)
    return three(flat.abs().amax(1), flat.square().sum(1, dtype=torch.float32), ~finite)


def norms(X: Tensor) -> Tensor:
    """By two norms, the larger of which tells what is not finite."""
    flat = X.flatten(1)
    largest = torch.linalg.vector_norm(flat, torch.inf, 1)
    norm = torch.linalg.vector_norm(flat, 2, 1, dtype=torch.float32)
    return three(largest, norm.square(), ~torch.isfinite(largest))


def setup(batch: int, m: int, n: int, dtype: str, where: str, quick: bool) -> Setup:
    """Ours, and torch as precise, in float32, by its norms, and compiled."""
    from subkern.ops.scan import scan

    X = linalg.normal_batch(batch, m, n, dtype, where)

    def ours(backend: str) -> Any:
        return scan(X, backend=backend)

    return vectors.competitors(
        ours,
        ours,
        {
            "widened": lambda: widened(X),
            "eager": lambda: eager(X),
            "norms": lambda: norms(X),
            "compiled": torch.compile(lambda: widened(X), dynamic=False),
        },
        partial(errors, widened(X)),
        where,
        quick,
    )


def cost(m: int, n: int, dtype: str) -> tuple[int, int]:
    """Bytes and FLOPs of one matrix: read once; a comparison, a product and a sum."""
    return ITEMSIZE[dtype] * m * n, 3 * m * n


def cases() -> list[Case]:
    """Small matrices, a layer's gradient, a batch; on a GPU what scans holds it."""
    return [
        linalg.batch_case(
            *(OP, batch, m, n, dtype),
            partial(setup, batch, m, n, dtype, "cpu"),
            cost(m, n, dtype),
            (),
        )
        for batch, m, n in SHAPES
        for dtype in ITEMSIZE
    ]
