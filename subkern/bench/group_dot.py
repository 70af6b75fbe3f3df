"""What inner products of groups of numbers cost: one read of both vectors."""

from __future__ import annotations

from functools import partial
from typing import Any

import torch
from torch import Tensor

from subkern.bench import vectors
from subkern.bench.accuracy import Error
from subkern.bench.registry import Case, Setup

OP = "group_dot"


def errors(exact: Tensor, scale: Tensor, found: Tensor) -> list[Error]:
    """Of the sums, relative to those of magnitudes: rounding of float64."""
    gap = (found.double().flatten() - exact).abs() / scale
    return [Error("dot", float(gap.max()), 1e-14)]


def widened(u: Tensor, v: Tensor) -> Tensor:
    """Products and sums in float64, as ours are."""
    return (u.double() * v.double()).sum(1)


def setup(shape: vectors.Shape, where: str, quick: bool) -> Setup:
    """Ours, torch as precise, torch in float32 by a product and a sum and by its own op."""
    from subkern.ops.group_dot import group_dot

    u, v = vectors.draw(2, shape, where)

    def ours(backend: str) -> Any:
        return group_dot(u, v, backend=backend)

    products = u.double() * v.double()
    return vectors.competitors(
        ours,
        ours,
        {
            "widened": lambda: widened(u, v),
            "eager": lambda: (u * v).sum(1),
            "vecdot": lambda: torch.linalg.vecdot(u, v),
            "compiled": torch.compile(lambda: widened(u, v), dynamic=False),
        },
        partial(errors, products.sum(1), products.abs().sum(1)),
        where,
        quick,
    )


def cost(numbers: int) -> tuple[int, int]:
    """Bytes and FLOPs: both vectors read once."""
    return 2 * 4 * numbers, 2 * numbers


def cases() -> list[Case]:
    """Vectors of a solver; on a GPU the solvers' own cases hold it."""
    return vectors.cases(OP, setup, cost)
