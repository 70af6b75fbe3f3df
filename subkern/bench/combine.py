"""What a combination of basis vectors costs: one read of the basis."""

from __future__ import annotations

from functools import partial
from typing import Any

import torch
from torch import Tensor

from subkern.bench import vectors
from subkern.bench.accuracy import EPS, Error
from subkern.bench.registry import Case, Setup

OP = "combine"
VECTORS = 10  # of a basis: the steps that lanczos_prox takes by default


def errors(exact: Tensor, found: Tensor) -> list[Error]:
    """Relative, worst of the groups."""
    gap = (found.double() - exact).norm(dim=1) / exact.norm(dim=1)
    return [Error("sum", float(gap.max()), 4 * EPS)]


def one_by_one(z: Tensor, V: Tensor, c: Tensor) -> Tensor:
    """Vector after vector, as the reference adds them."""
    found = z.clone()
    for j, share in enumerate(c.unbind(1)):
        found.addcmul_(V[:, j], share[:, None])
    return found


def product(z: Tensor, V: Tensor, c: Tensor) -> Tensor:
    """By one batched product."""
    return torch.baddbmm(z[:, None], c[:, None], V)[:, 0]


def setup(shape: vectors.Shape, where: str, quick: bool) -> Setup:
    """Ours, and torch by additions, by a product, and compiled."""
    from subkern.ops.combine import combine

    z, *basis = vectors.draw(1 + VECTORS, shape, where)
    V, wide = torch.stack(basis, 1), z[:, :VECTORS].double().contiguous()
    c = wide.float()

    def ours(backend: str) -> Any:
        return combine(z, V, wide, backend=backend)

    exact = z.double() + (wide[:, None] @ V.double())[:, 0]
    return vectors.competitors(
        ours,
        ours,
        {
            "eager": lambda: one_by_one(z, V, c),
            "baddbmm": lambda: product(z, V, c),
            "compiled": torch.compile(lambda: one_by_one(z, V, c), dynamic=False),
        },
        partial(errors, exact),
        where,
        quick,
    )


def cost(numbers: int) -> tuple[int, int]:
    """Bytes and FLOPs: the basis and the centre read, the sum written."""
    return 4 * (VECTORS + 2) * numbers, 2 * VECTORS * numbers


def cases() -> list[Case]:
    """Bases of images; on a GPU the solvers' own cases hold it."""
    return vectors.cases(OP, setup, cost)
