"""Gram matrices in plain PyTorch."""

from __future__ import annotations

import torch
from torch import Tensor


def result_dtype(X: Tensor, accumulate: str, out_dtype: torch.dtype | None) -> torch.dtype:
    """What the result is stored in: the precision of the sums unless something else was asked."""
    if out_dtype is not None:
        return out_dtype
    wide = accumulate == "fp64" or X.dtype == torch.float64
    return torch.float64 if wide else torch.float32


def mirrored(G: Tensor) -> Tensor:
    """The lower half of each matrix on both sides of the diagonal."""
    return G.tril() + G.tril(-1).mT


def gram(X: Tensor, *, side: str, accumulate: str, out_dtype: torch.dtype | None) -> Tensor:
    """X^T X (right) or X X^T (left); see :func:`subkern.ops.gram.gram`."""
    wide = accumulate == "fp64" or X.dtype == torch.float64
    x = X.to(torch.float64 if wide else torch.float32)
    G = x.mT @ x if side == "right" else x @ x.mT
    return mirrored(G).to(result_dtype(X, accumulate, out_dtype))
