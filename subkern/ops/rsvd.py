"""Randomized singular value decomposition: the leading singular triplets of a large matrix."""

from __future__ import annotations

import torch
from torch import Tensor

from subkern.ops._checks import check_backend, check_flag
from subkern.ops._info import raise_on
from subkern.ops._interop import accepts_arrays
from subkern.ops._library import define_op
from subkern.ops._matrices import as_batch, check_matrices, factor_dtype
from subkern.ops.topk_subspace import check_count, check_start


def _fake(
    A: Tensor,
    q0: Tensor | None,
    *,
    rank: int,
    oversample: int,
    iters: int,
    seed: int,
    backend: str,
) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    (b, m, n), dtype = A.shape, factor_dtype(A)
    return (
        A.new_empty((b, m, rank), dtype=dtype),
        A.new_empty((b, rank), dtype=dtype),
        A.new_empty((b, rank, n), dtype=dtype),
        A.new_empty((b,), dtype=torch.int32),
    )


_op = define_op(
    "rsvd",
    "(Tensor A, Tensor? q0, *, int rank, int oversample, int iters, int seed, str backend) "
    "-> (Tensor U, Tensor S, Tensor Vh, Tensor info)",
    _fake,
)


@accepts_arrays
def rsvd(
    A: Tensor,
    rank: int,
    *,
    oversample: int = 8,
    iters: int = 2,
    q0: Tensor | None = None,
    seed: int | None = None,
    info: bool = False,
    check: bool = False,
    backend: str | None = None,
) -> tuple[Tensor, ...]:
    """Approximate the leading ``rank`` singular triplets: A ~ U diag(S) Vh.

    Power iteration of ``rank + oversample`` columns on the shorter side, orthonormalized after each
    half, then the best ``rank`` directions within them (:func:`topk_subspace`)::

        Q <- orthonormalize(A orthonormalize(A^T Q)),  iters times        A^T Q = V S U_Q^T

    Exact for a matrix of rank <= ``rank``, else the better the faster the singular values fall. U
    and V are always orthonormal. Values below sqrt(eps) S[0] are accurate only absolutely, to about
    eps S[0]. In each left vector the entry of largest magnitude is positive. Results carry no
    gradient.

    Args:
        A: (*batch, m, n) float32, bfloat16 or float64, any strides.
        rank: triplets; at most min(m, n) are returned.
        oversample: more columns to iterate with, for accuracy.
        iters: iterations, at least 1, of two products with A each.
        q0: (*batch, min(m, n), rank), columns to start from; None for Gaussian ones.
        seed: of the Gaussian columns; None is 0. The same for all matrices of a batch.
        info: also return what happened to each matrix.
        check: read that back and raise for a matrix that is not finite.
        backend: implementation to use; None picks.

    Returns:
        U (*batch, m, r), S (*batch, r) falling, Vh (*batch, r, n), float32 (float64 for float64);
        with ``info=True`` then int32 (*batch): bit 0 A is not finite (its results are NaN), bit 1
        fewer than r values stand out of rounding.

    Raises:
        TypeError: an argument of the wrong kind or dtype.
        ValueError: a wrong shape, device or value.
        torch.linalg.LinAlgError: ``check`` is set and a matrix is not finite.
        BackendUnavailableError: no backend can serve the call, or the one asked for cannot.

    Backends: reference (any device, dtype), cpu and cuda (float32, bfloat16); the host waits for a
    GPU where rank + oversample > 64.

    Example:
        >>> import torch
        >>> U, S, Vh = rsvd(torch.diag(torch.tensor([3.0, 0.5, 4.0])), 2)
        >>> [round(s, 4) for s in S.tolist()]
        [4.0, 3.0]
    """
    A = check_matrices("rsvd", "A", A)
    check_count("rsvd", "rank", rank)
    check_count("rsvd", "oversample", oversample)
    check_count("rsvd", "iters", iters, 1)
    seed = 0 if seed is None else check_count("rsvd", "seed", seed)
    check_flag("rsvd", "info", info)
    check_flag("rsvd", "check", check)
    batch, (m, n) = A.shape[:-2], A.shape[-2:]
    r = min(rank, m, n)
    if q0 is not None:
        q0 = as_batch(check_start("rsvd", "q0", q0, (*batch, min(m, n), r), A))
    with torch.no_grad():
        U, S, Vh, flags = _op(
            as_batch(A),
            q0,
            rank=r,
            oversample=oversample,
            iters=iters,
            seed=seed,
            backend=check_backend("rsvd", backend),
        )
    flags = flags.reshape(batch)
    if check:
        raise_on("rsvd", flags)
    factors = (U.reshape(*batch, m, r), S.reshape(*batch, r), Vh.reshape(*batch, r, n))
    return (*factors, flags) if info else factors
