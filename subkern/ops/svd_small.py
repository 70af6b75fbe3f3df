"""Singular value decomposition of batches of matrices with a side of at most 64."""

from __future__ import annotations

import torch
from torch import Tensor

from subkern.ops._checks import check_backend, check_flag
from subkern.ops._info import raise_on
from subkern.ops._interop import accepts_arrays
from subkern.ops._library import define_op
from subkern.ops._matrices import as_batch, as_given, check_matrices, check_small, factor_dtype


def _fake(A: Tensor, *, backend: str) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    batch, m, n = A.shape
    k, dtype = min(m, n), factor_dtype(A)
    return (
        A.new_empty((batch, m, k), dtype=dtype),
        A.new_empty((batch, k), dtype=dtype),
        A.new_empty((batch, k, n), dtype=dtype),
        A.new_empty((batch,), dtype=torch.int32),
    )


_op = define_op(
    "svd_small",
    "(Tensor A, *, str backend) -> (Tensor U, Tensor S, Tensor Vh, Tensor info)",
    _fake,
)


@accepts_arrays
def svd_small(
    A: Tensor, *, info: bool = False, check: bool = False, backend: str | None = None
) -> tuple[Tensor, ...]:
    """Compute the thin singular value decomposition of matrices with min(m, n) <= 64.

    A = U diag(S) Vh with S falling and never negative. In each left vector the entry of largest
    magnitude (the lowest index among equals) is positive. One-sided Jacobi in float32 on the
    triangular factor: columns of very different length keep their relative accuracy. U and V are
    orthonormal for every finite A; where A is rank deficient (S <= 2 eps S[0]) the missing vectors
    are filled up. Matrices of a batch do not influence each other. Results carry no gradient.

    Args:
        A: (*batch, m, n) float32, bfloat16 (computed in float32) or float64, any strides.
        info: also return what happened to each matrix.
        check: read that back and raise when it was not finite or did not converge.
        backend: implementation to use; None picks.

    Returns:
        U (*batch, m, k), S (*batch, k), Vh (*batch, k, n) with k = min(m, n), float32 (float64 for
        float64), contiguous; with ``info=True`` then int32 (*batch): bit 0 A is not finite (its
        results are NaN), bit 1 A is rank deficient, bit 2 not converged within 16 sweeps.

    Raises:
        TypeError, ValueError: A is no floating-point tensor of matrices with a side <= 64.
        torch.linalg.LinAlgError: with ``check=True``, see there.
        BackendUnavailableError: no backend can serve the call, or the one asked for cannot.

    Backends: reference (any device, dtype), cpu and cuda (float32, bfloat16).

    Example:
        >>> import torch, subkern
        >>> U, S, Vh = subkern.svd_small(torch.tensor([[3.0, 0.0], [0.0, -4.0]]))
        >>> S.tolist()
        [4.0, 3.0]
        >>> (U @ torch.diag(S) @ Vh).tolist()
        [[3.0, 0.0], [0.0, -4.0]]
    """
    check_flag("svd_small", "info", info)
    check_flag("svd_small", "check", check)
    A = check_matrices("svd_small", "A", A)
    check_small("svd_small", "A", A)
    name = check_backend("svd_small", backend)
    U, S, Vh, flags = _op(as_batch(A), backend=name)
    if check:
        raise_on("svd_small", flags)
    batch = A.shape[:-2]
    factors = (as_given(U, batch), as_given(S, batch), as_given(Vh, batch))
    return (*factors, as_given(flags, batch)) if info else factors
