"""Orthonormal Fourier transforms, with the zero frequency in the middle or first."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor


def fft(x: Tensor, axes: Sequence[int], shifted: Sequence[int] = ()) -> Tensor:
    """Orthonormal transform over ``axes``; along ``shifted`` ones the origins lie at n // 2."""
    if not axes or not x.numel():  # MKL refuses empty batches
        return x
    x = torch.fft.ifftshift(x, dim=tuple(shifted)) if shifted else x
    found = torch.fft.fftn(x, dim=tuple(axes), norm="ortho")
    return torch.fft.fftshift(found, dim=tuple(shifted)) if shifted else found


def ifft(k: Tensor, axes: Sequence[int], shifted: Sequence[int] = ()) -> Tensor:
    """The inverse, which is the adjoint."""
    if not axes or not k.numel():
        return k
    k = torch.fft.ifftshift(k, dim=tuple(shifted)) if shifted else k
    found = torch.fft.ifftn(k, dim=tuple(axes), norm="ortho")
    return torch.fft.fftshift(found, dim=tuple(shifted)) if shifted else found


def checkerboard(lengths: Sequence[int], first: Sequence[int], like: Tensor) -> Tensor:
    """Signs that alternate along axes of even length, 1 elsewhere, and begin with (-1)^first.

    A shift by half of n elements is a transform's sign at every other frequency: with an origin at
    n // 2 on both sides, F_c = E F D, where D alternates from 1 and E from (-1)^(n / 2).
    """
    signs = like.new_ones(tuple(lengths))
    for axis, (n, begin) in enumerate(zip(lengths, first, strict=True)):
        if n % 2 == 0:
            alternate = 1 - 2 * ((torch.arange(n, device=like.device) + begin) % 2)
            signs = signs * alternate.to(like.dtype).view(-1, *[1] * (len(lengths) - axis - 1))
    return signs
