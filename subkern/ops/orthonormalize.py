"""Orthonormal basis of the columns of many matrices."""

from __future__ import annotations

import torch
from torch import Tensor

from subkern.ops._checks import check_backend, check_choice, check_flag
from subkern.ops._info import raise_on
from subkern.ops._interop import accepts_arrays
from subkern.ops._library import define_op
from subkern.ops._matrices import as_batch, as_given, check_matrices

METHODS = ("auto", "householder")


def _fake(Y: Tensor, *, method: str, backend: str) -> tuple[Tensor, Tensor, Tensor]:
    b, m, k = Y.shape
    dtype = torch.float64 if Y.dtype == torch.float64 else torch.float32
    Q, R = Y.new_empty((b, m, k), dtype=dtype), Y.new_empty((b, k, k), dtype=dtype)
    return Q, R, Y.new_empty((b,), dtype=torch.int32)


_op = define_op(
    "orthonormalize",
    "(Tensor Y, *, str method, str backend) -> (Tensor Q, Tensor R, Tensor info)",
    _fake,
)


@accepts_arrays
def orthonormalize(
    Y: Tensor,
    *,
    method: str = "auto",
    return_r: bool = False,
    info: bool = False,
    check: bool = False,
    backend: str | None = None,
) -> Tensor | tuple[Tensor, ...]:
    """Orthonormal columns Q that span the columns of Y, and R with Y = Q R.

    Mixed CholeskyQR2 with repair: the Gram matrix is summed and factored in float64, its factor is
    divided out in float32, twice (a third time where the columns are all but dependent)::

        R1^T R1 = Y^T Y      Q1 = Y R1^-1      R2^T R2 = Q1^T Q1      Q = Q1 R2^-1      R = R2 R1

    Q is orthonormal whatever Y is: a column that depends on the others is replaced by what is left
    of it, or by the unit vector of the row that Q uses least. Zero Y gives the first k unit
    vectors. Columns are scaled by powers of two first, so that any finite scale works.
    diag(R) >= 0 makes Q unique where Y has full rank. A matrix with an entry that is not finite
    gives NaN and leaves the rest of the batch alone.

    Results carry no gradient.

    Args:
        Y: (*batch, m, k) with m >= k, float32, bfloat16 (widened) or float64, any strides.
        method: ``"auto"``, or ``"householder"`` for reflections in float64, which are slow. float64
            input always takes reflections.
        return_r: whether to return R.
        info: whether to return what happened to each matrix: int32 (*batch), 0 when all is well,
            bit 0 for input that is not finite, bit 1 for dependent columns.
        check: read ``info`` back and raise for input that is not finite.
        backend: force ``"reference"``, ``"cpu"`` or ``"cuda"``; None picks.

    Returns:
        Q (*batch, m, k), then R (*batch, k, k), then info, the last two where asked for. float64
        for float64 input, else float32.

    Raises:
        TypeError: an argument of the wrong kind or dtype.
        ValueError: fewer rows than columns, or a wrong value.
        torch.linalg.LinAlgError: ``check`` is set and a matrix is not finite.
        BackendUnavailableError: the forced backend cannot serve the call.

    Backends: reference, cpu, cuda.

    Example:
        >>> import torch
        >>> Q, R = orthonormalize(torch.tensor([[3.0, 1.0], [0.0, 2.0], [4.0, 3.0]]), return_r=True)
        >>> [[round(x, 6) for x in row] for row in R.tolist()]
        [[5.0, 3.0], [0.0, 2.236068]]
        >>> bool((Q.T @ Q - torch.eye(2)).abs().max() < 1e-6)
        True
    """
    Y = check_matrices("orthonormalize", "Y", Y)
    batch, (m, k) = Y.shape[:-2], Y.shape[-2:]
    if m < k:
        raise ValueError(
            f"orthonormalize: Y must have no more columns than rows, got {m} x {k}; pass Y.mT"
        )
    check_choice("orthonormalize", "method", method, METHODS)
    check_flag("orthonormalize", "return_r", return_r)
    check_flag("orthonormalize", "info", info)
    check_flag("orthonormalize", "check", check)
    Q, R, events = _op(
        as_batch(Y),
        method=method,
        backend=check_backend("orthonormalize", backend),
    )
    if check:
        raise_on("orthonormalize", events)
    results = [as_given(Q, batch)]
    if return_r:
        results.append(as_given(R, batch))
    if info:
        results.append(as_given(events, batch))
    return results[0] if len(results) == 1 else tuple(results)
