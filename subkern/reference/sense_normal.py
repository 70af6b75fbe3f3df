"""The normal operator of Cartesian multi-coil imaging, in plain PyTorch."""

from __future__ import annotations

import torch
from torch import Tensor


def sense_normal(
    v: Tensor, maps: Tensor, weights: Tensor, gamma: Tensor | None, packed: Tensor | None = None
) -> tuple[Tensor, Tensor]:
    """H v and <v, H v>, where H = I + gamma N, or N where gamma is None.

    N v = sum_c conj(S_c) F^-1 w F S_c v, F orthonormal over the last axis (one axis of weights) or
    the last two, the zero frequency first. A centred F has the same N: a circular convolution does
    not care where the origin of the image is.

    Args:
        v: (b, rows, n) or (b, h, w).
        maps: S, (k, c, rows, n) or (k, c, h, w); image i has maps i mod k.
        weights: w, (j, n) or (j, h, w), real; image i has weights i mod j.
        gamma: (b,), real, or None.
        packed: what kernels made of maps and weights; not used.

    Returns:
        H v, and float64 inner products: (b, rows) of the rows where w has one axis, else (b,).
    """
    line = weights.dim() == 2
    axes = (-1,) if line else (-2, -1)
    if not v.numel():  # torch.fft has no plan for that
        return v.clone(), v.new_zeros(v.shape[: 2 if line else 1], dtype=torch.float64)
    S = maps.repeat(len(v) // len(maps), 1, 1, 1)
    w = weights.repeat(len(v) // len(weights), *[1] * len(axes))
    w = w[:, None, None] if line else w[:, None]
    data = torch.fft.fftn(S * v[:, None], dim=axes, norm="ortho") * w
    out = (S.conj() * torch.fft.ifftn(data, dim=axes, norm="ortho")).sum(1)
    if gamma is not None:
        out = v + gamma.view(-1, 1, 1) * out
    wide = torch.view_as_real(v).double() * torch.view_as_real(out).double()
    return out, wide.sum((2, 3) if line else (1, 2, 3))


def sense_pack(maps: Tensor, weights: Tensor) -> Tensor:
    """What kernels want of maps and weights: here, nothing."""
    return torch.empty(0, dtype=torch.float32, device=maps.device)
