"""The normal operator of Cartesian multi-coil imaging, in plain PyTorch."""

from __future__ import annotations

import torch
from torch import Tensor

from subkern.reference._fixed_order import conj_times, ordered_sum, times


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
    if not v.numel():  # MKL refuses empty batches
        return v.clone(), v.new_zeros(v.shape[: 2 if line else 1], dtype=torch.float64)
    S, w = (_for_images(t, len(v)) for t in (maps, weights))
    w = w[:, None, None] if line else w[:, None]
    data = torch.fft.fftn(times(S, v[:, None]), dim=axes, norm="ortho") * w
    out = conj_times(S, torch.fft.ifftn(data, dim=axes, norm="ortho")).sum(1)
    if gamma is not None:
        out = v + gamma.view(-1, 1, 1) * out
    wide = torch.view_as_real(v).double() * torch.view_as_real(out).double()
    groups = v.shape[: 2 if line else 1]
    return out, ordered_sum(wide.reshape(groups.numel(), -1)).view(groups)


def _for_images(t: Tensor, count: int) -> Tensor:
    """One for each of ``count`` images, in turn; or one for all."""
    return t if len(t) in (1, count) else t.repeat(count // len(t), *[1] * (t.dim() - 1))


def sense_pack(maps: Tensor, weights: Tensor) -> Tensor:
    """What kernels want of maps and weights: here, nothing."""
    return torch.empty(0, dtype=torch.float32, device=maps.device)
