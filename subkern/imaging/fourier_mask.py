"""Masked Fourier transforms of images: one coil, and a proximal step in closed form."""

from __future__ import annotations

import torch
from torch import Tensor

from subkern.imaging._fourier import fft, ifft
from subkern.ops._called import check_batch
from subkern.ops._checks import check_flag, check_tensor
from subkern.ops._krylov import check_alike, check_weights
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

    image_dim = data_dim = 3

    def __init__(self, mask: Tensor, *, centered: bool = True):
        check_tensor("FourierMask", "mask", mask)
        if mask.is_complex():
            raise TypeError(f"FourierMask: mask must be real, got {mask.dtype}")
        if mask.numel() and not bool((mask >= 0).all() & torch.isfinite(mask.square()).all()):
            raise ValueError(
                "FourierMask: mask must be zero or more and its square finite, got others"
            )
        if mask.dim() != 3:
            raise ValueError(
                f"FourierMask: mask must have shape (samples or 1, H, W), got {tuple(mask.shape)}"
            )
        self.centered = check_flag("FourierMask", "centered", centered)
        self._shifted = (-2, -1) if centered else ()
        self.mask = mask.detach().resolve_neg().double()  # exact
        self.norm_bound = float(self.mask.square().max()) if mask.numel() else 0.0

    def _mask_for(self, name: str, v: Tensor) -> Tensor:
        """The mask in the precision of images, which are checked."""
        samples, *shape = self.mask.shape
        dtypes = (torch.complex64, torch.complex128)
        check_batch("FourierMask", name, v, shape, samples, dtypes, self.mask.device)
        return self.mask.to(v.real.dtype)

    def matvec(self, x: Tensor) -> Tensor:
        """(samples, H, W) complex -> the same."""
        return self._mask_for("x", x) * fft(x, (-2, -1), self._shifted)

    def adjoint(self, y: Tensor) -> Tensor:
        """(samples, H, W) complex -> the same."""
        return ifft(self._mask_for("y", y) * y, (-2, -1), self._shifted)

    def prox(self, z: Tensor, y: Tensor, gamma: float | Tensor) -> Tensor:
        """The minimizer of ||x - z||^2 + gamma ||A x - y||^2, without iterations.

        F x = (F z + gamma mask y) / (1 + gamma mask^2).

        Args:
            z: (samples, H, W) complex, the centre.
            y: data, likewise.
            gamma: >= 0, a number or (samples,).
        """
        mask = self._mask_for("z", z)
        check_alike("FourierMask", "y", y, z, "z")
        weight = check_weights("FourierMask", "gamma", gamma, z).view(-1, 1, 1)
        above = fft(z, (-2, -1), self._shifted) + weight * mask * y
        return ifft(above / (1 + weight * mask.square()), (-2, -1), self._shifted)
