"""Sums of basis vectors, in plain PyTorch."""

from __future__ import annotations

import torch
from torch import Tensor


def combine(z: Tensor, V: Tensor, coefficients: Tensor) -> Tensor:
    """(g, n): z[g] + sum_j coefficients[g, j] V[g, j].

    Args:
        z: (g, n), real.
        V: (g, m, n), likewise.
        coefficients: (g, m) float64.
    """
    found = z.clone(memory_format=torch.contiguous_format)
    for j, c in enumerate(coefficients.to(V.dtype).unbind(1)):
        found.addcmul_(V[:, j], c[:, None])
    return found
