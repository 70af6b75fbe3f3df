"""What a matrix is scaled and judged by, in plain PyTorch."""

from __future__ import annotations

import torch
from torch import Tensor


def scan(X: Tensor) -> Tensor:
    """(b, 3) float64: largest magnitude, sum of squares, 1 where an entry is not finite, else 0.

    Args:
        X: (b, m, n). A matrix that is not finite has NaN in its first two results.
    """
    if not X.shape[1] * X.shape[2]:
        return torch.zeros((X.shape[0], 3), dtype=torch.float64, device=X.device)
    wide = X.double().flatten(1)
    finite = torch.isfinite(wide).all(1)
    found = torch.stack([wide.abs().amax(1), wide.square().sum(1)], 1)
    found = torch.where(finite[:, None], found, torch.nan)
    return torch.cat([found, (~finite).double()[:, None]], 1)
