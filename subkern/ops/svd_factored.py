"""Singular value decomposition of a product that is held as factors."""

from __future__ import annotations

import torch
from torch import Tensor

from subkern.ops._checks import check_backend, check_flag
from subkern.ops._info import raise_on
from subkern.ops._interop import accepts_arrays
from subkern.ops._library import define_op
from subkern.ops._matrices import as_batch, check_matrices, factor_dtype


def _fake(
    Uh: Tensor, S: Tensor, Vh: Tensor, *, backend: str
) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    dtype = factor_dtype(S)
    return (
        Uh.new_empty(Uh.shape, dtype=dtype),
        S.new_empty(S.shape, dtype=dtype),
        Vh.new_empty(Vh.shape, dtype=dtype),
        S.new_empty((len(S),), dtype=torch.int32),
    )


_op = define_op(
    "svd_factored",
    "(Tensor Uh, Tensor S, Tensor Vh, *, str backend) "
    "-> (Tensor Uh, Tensor S, Tensor Vh, Tensor info)",
    _fake,
)


@accepts_arrays
def svd_factored(
    Uh: Tensor,
    S: Tensor,
    Vh: Tensor,
    *,
    info: bool = False,
    check: bool = False,
    backend: str | None = None,
) -> tuple[Tensor, ...]:
    """Compute the singular value decomposition of W = Uh^T diag(S) Vh from its factors.

    The factors need not be orthonormal, nor S sorted or positive; the results are, with S falling::

        k = min(m, n):  W W^T = E diag(s^2) E^T, summed in float64,   V = orthonormalize(W^T E)
        k < min(m, n):  Uh^T = Q R,  Vh^T = P T,  R diag(S) T^T = E diag(s) F^T,  U = Q E,  V = P F

    with the shorter side first, and by svd_small where k <= 64. A training step turns singular
    vectors a little; this restores their orthogonality and leaves W as it is. In each left vector
    the entry of largest magnitude is positive. Results carry no gradient.

    Args:
        Uh: (*batch, k, m) float32, bfloat16 or float64, a left factor per row.
        S: (*batch, k), same dtype.
        Vh: (*batch, k, n), same dtype; k <= min(m, n).
        info: also return what happened to each product.
        check: read that back and raise when a factor was not finite.
        backend: implementation to use; None picks.

    Returns:
        Uh (*batch, k, m), S (*batch, k), Vh (*batch, k, n), float32 (float64 for float64),
        contiguous; with ``info=True`` then int32 (*batch): bit 0 a factor is not finite (its
        results are NaN).

    Raises:
        TypeError, ValueError: a factor of the wrong kind, dtype, device or shape.
        torch.linalg.LinAlgError: with ``check=True``, see there.
        BackendUnavailableError: no backend can serve the call, or the one asked for cannot.

    Backends: reference (any device, dtype), cpu and cuda (float32, bfloat16); the host waits for a
    GPU where k > 64.

    Example:
        >>> import torch, subkern
        >>> Uh, S, Vh = torch.eye(2), torch.tensor([1.0, 3.0]), torch.eye(2)
        >>> subkern.svd_factored(Uh, S, Vh)[1].tolist()
        [3.0, 1.0]
    """
    check_flag("svd_factored", "info", info)
    check_flag("svd_factored", "check", check)
    Uh = check_matrices("svd_factored", "Uh", Uh)
    Vh = check_matrices("svd_factored", "Vh", Vh)
    (*batch, k, m), n = Uh.shape, Vh.shape[-1]
    if k > min(m, n):
        raise ValueError(
            f"svd_factored: Uh must have at most min(m, n) = {min(m, n)} rows, got {k}"
        )
    check_matrices("svd_factored", "S", S[..., None] if isinstance(S, Tensor) else S)
    S = S.detach()
    for name, t, shape in (("S", S, (*batch, k)), ("Vh", Vh, (*batch, k, n))):
        if t.shape != torch.Size(shape):
            raise ValueError(f"svd_factored: {name} must have shape {shape}, got {tuple(t.shape)}")
        if t.dtype != Uh.dtype:
            raise TypeError(f"svd_factored: {name} must be {Uh.dtype}, got {t.dtype}")
        if t.device != Uh.device:
            raise ValueError(f"svd_factored: {name} must be on {Uh.device}, got {t.device}")
    name = check_backend("svd_factored", backend)
    S = S.reshape(Uh.shape[:-2].numel(), k)
    left, values, right, flags = _op(as_batch(Uh), S, as_batch(Vh), backend=name)
    flags = flags.reshape(batch)
    if check:
        raise_on("svd_factored", flags)
    factors = (left.reshape(*batch, k, m), values.reshape(*batch, k), right.reshape(*batch, k, n))
    return (*factors, flags) if info else factors
