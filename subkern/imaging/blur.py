"""Circular convolution of images."""

from __future__ import annotations

import torch
from torch import Tensor

from subkern.ops._checks import check_tensor
from subkern.ops._operator import LinearOperator


class Blur(LinearOperator):
    """A x = k * x, a circular convolution whose kernel is centred at its element (h // 2, w // 2).

    Args:
        kernel: (h, w) real or complex, no larger than the image.
        size: (H, W) of the images.

    Raises:
        TypeError, ValueError: the kernel is no plane of numbers, or larger than the image.

    Example:
        >>> import torch
        >>> A = Blur(torch.tensor([[0.5, 0.5]]), (1, 4))
        >>> [round(v, 4) for v in A.matvec(torch.tensor([[[1.0, 0.0, 0.0, 0.0]]]))[0, 0].tolist()]
        [0.5, 0.0, 0.0, 0.5]
    """

    def __init__(self, kernel: Tensor, size: tuple[int, int]):
        check_tensor("Blur", "kernel", kernel)
        if not (kernel.is_floating_point() or kernel.is_complex()):
            raise TypeError(f"Blur: kernel must be floating point or complex, got {kernel.dtype}")
        if kernel.dim() != 2:
            raise ValueError(f"Blur: kernel must have shape (h, w), got {tuple(kernel.shape)}")
        if len(size) != 2 or any(k > n for k, n in zip(kernel.shape, size, strict=True)):
            raise ValueError(
                f"Blur: size must be (H, W) and hold the kernel {tuple(kernel.shape)}, got {size}"
            )
        kernel = kernel.detach()
        padded = kernel.new_zeros(size)
        padded[: kernel.shape[0], : kernel.shape[1]] = kernel
        shift = [-(n // 2) for n in kernel.shape]
        self.size = tuple(size)
        self.response = torch.fft.fft2(torch.roll(padded, shift, (0, 1)))
        self._real = not kernel.is_complex()
        self.norm_bound = float(self.response.abs().square().max()) if padded.numel() else 0.0

    def _filter(self, x: Tensor, response: Tensor) -> Tensor:
        found = torch.fft.ifft2(response * torch.fft.fft2(x))
        return found.real if self._real and not x.is_complex() else found

    def matvec(self, x: Tensor) -> Tensor:
        """(samples, H, W) -> the same; real images stay real under a real kernel."""
        return self._filter(x, self.response)

    def adjoint(self, y: Tensor) -> Tensor:
        """(samples, H, W) -> the same."""
        return self._filter(y, self.response.conj())

    def normal(self, x: Tensor) -> Tensor:
        """A* A x in one pair of transforms."""
        return self._filter(x, self.response.abs().square())
