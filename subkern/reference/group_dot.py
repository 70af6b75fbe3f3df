"""Inner products of groups of numbers, in plain PyTorch."""

from __future__ import annotations

from torch import Tensor

from subkern.reference._fixed_order import ordered_sum


def group_dot(u: Tensor, v: Tensor) -> Tensor:
    """(g,) float64: sum_i u[g, i] v[g, i], every product and sum in float64.

    Args:
        u: (g, n), real.
        v: (g, n), likewise.
    """
    return ordered_sum(u.double() * v.double())
