"""A matrix as an operator."""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor

from subkern.ops._called import check_batch, with_complex
from subkern.ops._checks import check_tensor
from subkern.ops._krylov import DTYPES
from subkern.ops._operator import LinearOperator
from subkern.reference._fixed_order import conj_times, ordered_sum, times


class Dense(LinearOperator):
    """A x for a matrix A, the same for all samples or one for each: small problems and tests.

    Products are summed in an order that depends on nothing else, so that a sample's bits do not
    depend on the others; they are all in memory at once.

    Args:
        A: (m, n) or (samples, m, n), float32, float64, complex64 or complex128.

    Raises:
        TypeError, ValueError: A is no matrix of such numbers.

    Example:
        >>> import torch
        >>> Dense(torch.tensor([[1.0, 2.0]])).matvec(torch.ones(1, 2)).tolist()
        [[3.0]]
    """

    def __init__(self, A: Tensor):
        check_tensor("Dense", "A", A)
        if A.dtype not in DTYPES:
            raise TypeError(
                f"Dense: A must be float32, float64, complex64 or complex128, got {A.dtype}"
            )
        if A.dim() not in (2, 3):
            raise ValueError(
                f"Dense: A must have shape (m, n) or (samples, m, n), got {tuple(A.shape)}"
            )
        self.A = A.detach().resolve_conj().resolve_neg()
        self.norm_bound = (
            float(torch.linalg.matrix_norm(self.A, 2).max() ** 2) if A.numel() else 0.0
        )

    def _product(
        self, multiply: Callable[[Tensor, Tensor], Tensor], A: Tensor, name: str, v: Tensor
    ) -> Tensor:
        samples = len(A) if A.dim() == 3 else 1
        check_batch("Dense", name, v, A.shape[-1:], samples, with_complex(A.dtype), A.device)
        products = multiply(A, v[:, None])
        return ordered_sum(products.flatten(0, 1)).view(products.shape[:2])

    def matvec(self, x: Tensor) -> Tensor:
        """(samples, n) -> (samples, m); complex ones by a real matrix too."""
        return self._product(times, self.A, "x", x)

    def adjoint(self, y: Tensor) -> Tensor:
        """(samples, m) -> (samples, n)."""
        return self._product(conj_times, self.A.mT, "y", y)
