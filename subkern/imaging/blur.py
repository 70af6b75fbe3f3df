"""Circular convolution of images."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor

from subkern.imaging._fourier import fft, ifft
from subkern.ops._called import check_batch, with_complex
from subkern.ops._checks import check_tensor
from subkern.ops._krylov import DTYPES
from subkern.ops._operator import LinearOperator
from subkern.reference._fixed_order import conj_times, times


class Blur(LinearOperator):
    """A x = k * x, a circular convolution whose kernel is centred at its element (h // 2, w // 2).

    Args:
        kernel: (h, w) float32, float64, complex64 or complex128, no larger than the image.
        size: (H, W) of the images.

    Raises:
        TypeError, ValueError: the kernel is no plane of such numbers, or larger than the image.

    Example:
        >>> import torch
        >>> A = Blur(torch.tensor([[0.5, 0.5]]), (1, 4))
        >>> [round(v, 4) for v in A.matvec(torch.tensor([[[1.0, 0.0, 0.0, 0.0]]]))[0, 0].tolist()]
        [0.5, 0.0, 0.0, 0.5]
    """

    def __init__(self, kernel: Tensor, size: tuple[int, int]):
        check_tensor("Blur", "kernel", kernel)
        if kernel.dtype not in DTYPES:
            raise TypeError(
                f"Blur: kernel must be float32, float64, complex64 or complex128, "
                f"got {kernel.dtype}"
            )
        if kernel.dim() != 2:
            raise ValueError(f"Blur: kernel must have shape (h, w), got {tuple(kernel.shape)}")
        if not isinstance(size, (tuple, list)) or not all(type(n) is int for n in size):
            raise TypeError(f"Blur: size must be two whole numbers, got {size!r}")
        if len(size) != 2 or any(k > n for k, n in zip(kernel.shape, size, strict=True)):
            raise ValueError(
                f"Blur: size must be (H, W) and hold the kernel {tuple(kernel.shape)}, got {size}"
            )
        kernel = kernel.detach().resolve_conj().resolve_neg()
        padded = kernel.new_zeros(size)
        padded[: kernel.shape[0], : kernel.shape[1]] = kernel
        shift = [-(n // 2) for n in kernel.shape]
        self.size = tuple(size)
        self.response = torch.fft.fft2(torch.roll(padded, shift, (0, 1)))
        self._dtypes = with_complex(kernel.dtype)
        self.norm_bound = float(self.response.abs().square().max()) if padded.numel() else 0.0

    def _filter(self, response: Tensor, name: str, x: Tensor, multiply: Any = times) -> Tensor:
        check_batch("Blur", name, x, self.size, 1, self._dtypes, response.device)
        axes = (-2, -1)
        found = ifft(multiply(response, fft(x, axes)), axes)
        return found if x.is_complex() else found.real

    def matvec(self, x: Tensor) -> Tensor:
        """(samples, H, W) -> the same; real images, which a real kernel takes too, stay real."""
        return self._filter(self.response, "x", x)

    def adjoint(self, y: Tensor) -> Tensor:
        """(samples, H, W) -> the same."""
        return self._filter(self.response, "y", y, conj_times)

    def normal(self, x: Tensor) -> Tensor:
        """A* A x in one pair of transforms."""
        return self._filter(self.response.abs().square(), "x", x)
