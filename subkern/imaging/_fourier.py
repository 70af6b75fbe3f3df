"""Orthonormal Fourier transforms, with the zero frequency in the middle or first."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor


def fft(x: Tensor, axes: Sequence[int], centered: bool) -> Tensor:
    """Orthonormal transform over ``axes``; ``centered``: the origins lie at n // 2."""
    if not axes or not x.numel():  # MKL refuses empty batches
        return x
    if not centered:
        return torch.fft.fftn(x, dim=tuple(axes), norm="ortho")
    moved = torch.fft.ifftshift(x, dim=tuple(axes))
    return torch.fft.fftshift(torch.fft.fftn(moved, dim=tuple(axes), norm="ortho"), dim=tuple(axes))


def ifft(k: Tensor, axes: Sequence[int], centered: bool) -> Tensor:
    """The inverse, which is the adjoint."""
    if not axes or not k.numel():
        return k
    if not centered:
        return torch.fft.ifftn(k, dim=tuple(axes), norm="ortho")
    moved = torch.fft.ifftshift(k, dim=tuple(axes))
    return torch.fft.fftshift(
        torch.fft.ifftn(moved, dim=tuple(axes), norm="ortho"), dim=tuple(axes)
    )
