"""Eigenvalues and eigenvectors of batches of symmetric matrices with at most 64 rows."""

from __future__ import annotations

import torch
from torch import Tensor

from subkern.ops._checks import check_backend, check_flag
from subkern.ops._info import raise_on
from subkern.ops._interop import accepts_arrays
from subkern.ops._library import define_op
from subkern.ops._matrices import as_batch, as_given, check_matrices, check_small, factor_dtype


def _fake(C: Tensor, *, backend: str) -> tuple[Tensor, Tensor, Tensor]:
    batch, n = C.shape[:2]
    dtype = factor_dtype(C)
    return (
        C.new_empty((batch, n), dtype=dtype),
        C.new_empty((batch, n, n), dtype=dtype),
        C.new_empty((batch,), dtype=torch.int32),
    )


_op = define_op(
    "eigh_small",
    "(Tensor C, *, str backend) -> (Tensor w, Tensor V, Tensor info)",
    _fake,
)


@accepts_arrays
def eigh_small(
    C: Tensor, *, info: bool = False, check: bool = False, backend: str | None = None
) -> tuple[Tensor, ...]:
    """Compute eigenvalues and eigenvectors of symmetric matrices with n <= 64.

    C = V diag(w) V^T with w rising. Only the lower triangle of C is read. In each vector the entry
    of largest magnitude (the lowest index among equals) is positive. Jacobi's method in float32;
    matrices of a batch do not influence each other. Results carry no gradient.

    Args:
        C: (*batch, n, n) float32, bfloat16 (computed in float32) or float64, any strides.
        info: also return what happened to each matrix.
        check: read that back and raise when it was not finite or did not converge.
        backend: implementation to use; None picks.

    Returns:
        w (*batch, n), V (*batch, n, n) with the vectors as columns, float32 (float64 for float64),
        contiguous; with ``info=True`` then int32 (*batch): bit 0 the lower triangle is not finite
        (its results are NaN), bit 2 not converged within 16 sweeps.

    Raises:
        TypeError, ValueError: C is no floating-point tensor of square matrices with n <= 64.
        torch.linalg.LinAlgError: with ``check=True``, see there.
        BackendUnavailableError: no backend can serve the call, or the one asked for cannot.

    Backends: reference (any device, dtype), cpu and cuda (float32, bfloat16).

    Example:
        >>> import torch, subkern
        >>> w, V = subkern.eigh_small(torch.tensor([[0.0, 2.0], [2.0, 0.0]]))
        >>> w.tolist()
        [-2.0, 2.0]
    """
    check_flag("eigh_small", "info", info)
    check_flag("eigh_small", "check", check)
    C = check_matrices("eigh_small", "C", C)
    if C.shape[-1] != C.shape[-2]:
        raise ValueError(f"eigh_small: C must be square, got {C.shape[-2]} x {C.shape[-1]}")
    check_small("eigh_small", "C", C)
    name = check_backend("eigh_small", backend)
    w, V, flags = _op(as_batch(C), backend=name)
    if check:
        raise_on("eigh_small", flags)
    batch = C.shape[:-2]
    results = (as_given(w, batch), as_given(V, batch))
    return (*results, as_given(flags, batch)) if info else results
