"""A matrix as an operator."""

from __future__ import annotations

import torch
from torch import Tensor

from subkern.ops._checks import check_tensor
from subkern.ops._operator import LinearOperator


class Dense(LinearOperator):
    """A x for a matrix A, the same for all samples or one for each: small problems and tests.

    Args:
        A: (m, n) or (samples, m, n), real or complex.

    Raises:
        TypeError, ValueError: A is no matrix of floating-point or complex numbers.

    Example:
        >>> import torch
        >>> Dense(torch.tensor([[1.0, 2.0]])).matvec(torch.ones(1, 2)).tolist()
        [[3.0]]
    """

    def __init__(self, A: Tensor):
        check_tensor("Dense", "A", A)
        if not (A.is_floating_point() or A.is_complex()):
            raise TypeError(f"Dense: A must be floating point or complex, got {A.dtype}")
        if A.dim() not in (2, 3):
            raise ValueError(
                f"Dense: A must have shape (m, n) or (samples, m, n), got {tuple(A.shape)}"
            )
        self.A = A.detach()
        self.norm_bound = float(torch.linalg.matrix_norm(self.A, 2).max() ** 2) if A.numel() else 0.0

    def matvec(self, x: Tensor) -> Tensor:
        """(samples, n) -> (samples, m)."""
        return (self.A @ x[:, :, None])[:, :, 0]

    def adjoint(self, y: Tensor) -> Tensor:
        """(samples, m) -> (samples, n)."""
        return (self.A.mH @ y[:, :, None])[:, :, 0]
