"""Singular value decomposition of a product that is held as factors, in plain PyTorch."""

from __future__ import annotations

import torch
from torch import Tensor

NONFINITE = 1


def svd_factored(Uh: Tensor, S: Tensor, Vh: Tensor) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    """(Uh, S, Vh, info) of batches (b, k, m), (b, k), (b, k, n), from the product in float64."""
    b, k = S.shape
    stored = torch.float64 if S.dtype == torch.float64 else torch.float32
    factors = [t.double() for t in (Uh, S, Vh)]
    finite = torch.stack([t.isfinite().flatten(1).all(1) for t in factors]).all(0)
    left, middle, right = (
        torch.where(finite.view(b, *[1] * (t.dim() - 1)), t, 0.0) for t in factors
    )
    U, S, Vh = torch.linalg.svd((left * middle[..., None]).mT @ right, full_matrices=False)
    Uh, S, Vh = U.mT[:, :k], S[:, :k], Vh[:, :k]
    if k:
        entry = Uh.gather(2, Uh.abs().argmax(2, keepdim=True))
        sign = torch.where(entry < 0, -1.0, 1.0)
        Uh, Vh = Uh * sign, Vh * sign
    Uh, S, Vh = (
        torch.where(finite.view(b, *[1] * (t.dim() - 1)), t, torch.nan).to(stored).contiguous()
        for t in (Uh, S, Vh)
    )
    return Uh, S, Vh, (~finite).int() * NONFINITE
