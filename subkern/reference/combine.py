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
    return torch.baddbmm(z[:, None], coefficients[:, None].to(V.dtype), V)[:, 0]
