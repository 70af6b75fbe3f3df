"""Linear layer with a spectral weight, and the gradients that Sparse Spectral Training follows."""

from __future__ import annotations

import torch
from torch import Tensor


def spectral_linear(
    x: Tensor, Uh: Tensor, S: Tensor, Vh: Tensor, bias: Tensor | None = None
) -> Tensor:
    """Returns x W^T + bias with W = Uh^T diag(S) Vh, differentiable by autograd in every factor."""
    return torch.nn.functional.linear(x, Uh.mT @ (S[:, None] * Vh), bias)


def spectral_gradients(
    x: Tensor, dy: Tensor, Uh: Tensor, S: Tensor, Vh: Tensor, sampled: Tensor
) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    """Gradients by their published formulas, from the dense gradient G = dy^T x of the weight.

    Returns:
        dx = dy W; dS_i = u_i^T G v_i for every i; and for i in ``sampled`` the enhanced gradients
        G v_i of the left and G^T u_i of the right vectors (those of autograd over S_i), as rows.
    """
    x, dy = x.reshape(-1, Vh.shape[1]), dy.reshape(-1, Uh.shape[1])
    G = dy.mT @ x
    values = torch.diagonal(Uh @ G @ Vh.mT)
    return dy @ Uh.mT @ (S[:, None] * Vh), values, Vh[sampled] @ G.mT, Uh[sampled] @ G
