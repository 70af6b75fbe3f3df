"""Masked Fourier transforms of images: one coil, and a proximal step in closed form."""

from __future__ import annotations

import torch
from torch import Tensor

from subkern.imaging._fourier import fft, ifft
from subkern.ops._checks import check_flag, check_tensor
from subkern.ops._operator import LinearOperator


class FourierMask(LinearOperator):
    """A x = mask * F x, F orthonormal: N is diagonal in the Fourier domain.

    Args:
        mask: (samples or 1, H, W), real, >= 0.
        centered: the zero frequency and the image's origin lie at n // 2; else first.

    Raises:
        TypeError, ValueError: the mask is no batch of real planes.

    Example:
        >>> import torch
        >>> A = FourierMask(torch.ones(1, 2, 2))
        >>> A.normal(torch.ones(1, 2, 2) + 0j).real.tolist()
        [[[1.0, 1.0], [1.0, 1.0]]]
    """

    def __init__(self, mask: Tensor, *, centered: bool = True):
        check_tensor("FourierMask", "mask", mask)
        if mask.is_complex():
            raise TypeError(f"FourierMask: mask must be real, got {mask.dtype}")
        if mask.dim() != 3:
            raise ValueError(
                f"FourierMask: mask must have shape (samples or 1, H, W), got {tuple(mask.shape)}"
            )
        self.centered = check_flag("FourierMask", "centered", centered)
        self.mask = mask.detach() if mask.is_floating_point() else mask.float()
        self.norm_bound = float(self.mask.square().max()) if mask.numel() else 0.0

    def matvec(self, x: Tensor) -> Tensor:
        """(samples, H, W) complex -> the same."""
        return self.mask * fft(x, (-2, -1), self.centered)

    def adjoint(self, y: Tensor) -> Tensor:
        """(samples, H, W) complex -> the same."""
        return ifft(self.mask * y, (-2, -1), self.centered)

    def prox(self, z: Tensor, y: Tensor, gamma: float | Tensor) -> Tensor:
        """The minimizer of ||x - z||^2 + gamma ||A x - y||^2, without iterations.

        F x = (F z + gamma mask y) / (1 + gamma mask^2).
        """
        weight = torch.as_tensor(gamma, dtype=self.mask.dtype, device=z.device).reshape(-1, 1, 1)
        above = fft(z, (-2, -1), self.centered) + weight * self.mask * y
        return ifft(above / (1 + weight * self.mask.square()), (-2, -1), self.centered)
