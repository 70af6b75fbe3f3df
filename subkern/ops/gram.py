"""Gram matrices, symmetric to the last bit."""

from __future__ import annotations

import torch
from torch import Tensor

from subkern.ops._checks import check_backend, check_choice
from subkern.ops._interop import accepts_arrays
from subkern.ops._library import define_op
from subkern.ops._matrices import as_batch, as_given, check_matrices
from subkern.reference.gram import result_dtype

SIDES = ("right", "left")
ACCUMULATE = ("fp32", "fp64")
OUT_DTYPES = (torch.float32, torch.float64, torch.bfloat16, torch.float16)


def _fake(
    X: Tensor, *, side: str, accumulate: str, out_dtype: torch.dtype | None, backend: str
) -> Tensor:
    k = X.shape[2] if side == "right" else X.shape[1]
    return X.new_empty((X.shape[0], k, k), dtype=result_dtype(X, accumulate, out_dtype))


_op = define_op(
    "gram",
    "(Tensor X, *, str side, str accumulate, ScalarType? out_dtype, str backend) -> Tensor",
    _fake,
)


@accepts_arrays
def gram(
    X: Tensor,
    side: str = "right",
    *,
    accumulate: str = "fp32",
    out_dtype: torch.dtype | None = None,
    backend: str | None = None,
) -> Tensor:
    """Compute the Gram matrix of the columns or rows of matrices, symmetric to the last bit.

    G = X^T X (side="right") or X X^T (side="left"), of which one half is computed and mirrored.
    Squares leave the range of float32 where entries pass 1e19 or fall below 1e-19: scale X first.
    Carries no gradient: call it on detached input. A matrix that is not finite spreads into its
    own G alone.

    Args:
        X: (*batch, m, n) float32, bfloat16 or float64, any strides.
        side: ``"right"`` for the n x n matrix of the columns, ``"left"`` for the m x m of the rows.
        accumulate: ``"fp32"``, or ``"fp64"`` for sums that an orthonormalization can rely on.
            float64 input is always summed in float64.
        out_dtype: float32, float64, bfloat16 or float16; None keeps the precision of the sums.
            Narrow types cost what they round: bfloat16 keeps three digits, float16 overflows at
            65504.
        backend: force ``"reference"``, ``"cpu"``, ``"triton"`` or ``"cuda"``; None picks.

    Returns:
        (*batch, n, n) or (*batch, m, m), contiguous.

    Raises:
        TypeError: X is no tensor of these dtypes, or an argument is of the wrong kind.
        ValueError: X has fewer than two dimensions, or a choice is unknown.
        BackendUnavailableError: the forced backend cannot serve the call.

    Backends: reference, cpu (float32, bfloat16), triton (the same, sums in float32), cuda
    (torch.matmul).

    Example:
        >>> import torch, subkern
        >>> subkern.gram(torch.tensor([[1.0, 2.0], [0.0, 3.0]]))
        tensor([[ 1.,  2.],
                [ 2., 13.]])
    """
    X = check_matrices("gram", "X", X)
    check_choice("gram", "side", side, SIDES)
    check_choice("gram", "accumulate", accumulate, ACCUMULATE)
    if out_dtype is not None and not isinstance(out_dtype, torch.dtype):
        raise TypeError(f"gram: out_dtype must be a torch.dtype or None, got {out_dtype!r}")
    if out_dtype is not None and out_dtype not in OUT_DTYPES:
        raise TypeError(f"gram: out_dtype must be a floating-point dtype, got {out_dtype}")
    G = _op(
        as_batch(X),
        side=side,
        accumulate=accumulate,
        out_dtype=out_dtype,
        backend=check_backend("gram", backend),
    )
    return as_given(G, X.shape[:-2])
