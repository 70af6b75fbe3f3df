"""Proximal steps with the known defects of published code: the tests must see each of them."""

from __future__ import annotations

import torch
from torch import Tensor

from sktest.krylov import hermitian, textbook
from subkern.imaging import LinearOperator


def _solve(
    A: LinearOperator, z: Tensor, y: Tensor, gamma: float, steps: int, dot, factor: complex
) -> Tensor:
    found = []
    for i in range(len(z)):
        one = z[i : i + 1]
        b = one + gamma * factor * A.adjoint(y[i : i + 1])
        *_, x = textbook(lambda v: v + gamma * A.normal(v), b, one, steps, dot)
        found.append(x)
    return torch.cat(found)


def sound(A: LinearOperator, z: Tensor, y: Tensor, gamma: float, steps: int) -> Tensor:
    """Without a defect: it must pass what the others fail."""
    return _solve(A, z, y, gamma, steps, hermitian, 1.0)


def unconjugated(A: LinearOperator, z: Tensor, y: Tensor, gamma: float, steps: int) -> Tensor:
    """Inner products sum(u v) of complex vectors, without the conjugate."""
    return _solve(A, z, y, gamma, steps, lambda u, v: (u * v).sum(), 1.0)


def turned(A: LinearOperator, z: Tensor, y: Tensor, gamma: float, steps: int) -> Tensor:
    """The measured term is multiplied by 1 + i."""
    return _solve(A, z, y, gamma, steps, hermitian, 1.0 + 1.0j)
