"""Singular values and vectors of small matrices by one-sided Jacobi, in plain PyTorch."""

from __future__ import annotations

import torch
from torch import Tensor

from subkern.reference import _jacobi as jacobi

NONFINITE, DEFICIENT, UNCONVERGED = 1, 2, 4


def _sorted_columns(R: Tensor, V: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    """(R, V, norms) with R's columns in order of falling norm."""
    norms, order = torch.sort(
        torch.linalg.vector_norm(R, dim=-2), dim=-1, descending=True, stable=True
    )
    R, V = (X.gather(-1, order[:, None, :].expand_as(X)) for X in (R, V))
    return R, V, norms


def _pivots(X: Tensor) -> Tensor:
    """Order of the columns (b, n): next comes the one that is farthest from those before it."""
    taken = torch.zeros_like(X[:, 0], dtype=torch.bool)
    order = []
    for _ in range(X.shape[-1]):
        norms = torch.linalg.vector_norm(X, dim=-2)
        j = torch.where(taken, -1, norms).argmax(-1, keepdim=True)
        order.append(j)
        taken = taken.scatter(-1, j, True)
        norm = norms.gather(-1, j)[:, None]
        q = X.gather(-1, j[:, None, :].expand(-1, X.shape[-2], 1)) / torch.where(norm == 0, 1, norm)
        X = X - q @ (q.mT @ X)
    return torch.cat(order, -1)


def one_sided_jacobi(R: Tensor) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    """Turn the columns of R (b, m, n) until they are orthogonal.

    Returns:
        (R V, V, norms of the columns of R V in falling order, not converged).
    """
    batch, m, n = R.shape
    eps = torch.finfo(R.dtype).eps
    V = torch.eye(n, dtype=R.dtype, device=R.device).expand(batch, n, n)
    active = torch.ones(batch, dtype=torch.bool, device=R.device)
    # Below the null columns there is rounding: turning it on would never end. For the sake of
    # graded columns a little of what lies there is turned along until the others are done.
    along = active
    for _ in range(jacobi.SWEEPS if n > 1 else 0):
        R, V, norms = _sorted_columns(R, V)
        null = 2 * eps * norms[:, :1]
        X = torch.nn.functional.pad(torch.cat([R, V], -2), (0, n % 2))
        floor = torch.where(along[:, None], null / 4, null)
        turned, counted = torch.zeros_like(active), torch.zeros_like(active)
        for _ in range(n + n % 2 - 1):
            p, q = X[:, :m].tensor_split(2, -1)
            pp, qq, pq = p.square().sum(-2), q.square().sum(-2), (p * q).sum(-2)
            a, b = pp.sqrt(), qq.sqrt()
            smaller = torch.minimum(a, b)
            skip = (pq.abs() <= 2 * eps * a * b) | (smaller <= floor) | ~active[:, None]
            X = jacobi.advanced(jacobi.rotated(X, *jacobi.rotation(pp, qq, pq, skip)))
            turned |= ~skip.all(-1)
            counted |= (~skip & (smaller > null)).any(-1)
        R, V = X[:, :m, :n], X[:, m:, :n]
        active, along = active & turned, along & counted
        if not jacobi.any_left(active):
            break
    if n == 1:
        active = torch.zeros_like(active)
    return (*_sorted_columns(R, V), active)


def svd_small(A: Tensor) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    """(U, S, Vh, info) of (b, m, n); see :func:`subkern.ops.svd_small.svd_small`.

    A P = Q R with the longest column first. The columns of R^T are nearly orthogonal already where
    those of A are far from it: R^T V = W S, and A = (Q V) S (P W)^T.
    """
    batch, m, n = A.shape
    if min(m, n) == 0:
        dtype = jacobi.widened(A[:0]).dtype
        shapes = ((batch, m, 0), (batch, 0), (batch, 0, n))
        U, S, Vh = (torch.empty(shape, dtype=dtype, device=A.device) for shape in shapes)
        return U, S, Vh, torch.zeros(batch, dtype=torch.int32, device=A.device)
    wide = m < n
    X, exponent, finite = jacobi.cleaned(A.mT if wide else A)
    order = _pivots(X)
    Q, R = torch.linalg.qr(X.gather(-1, order[:, None, :].expand_as(X)))
    W, V, norms, unconverged = one_sided_jacobi(R.mT)
    null = norms <= 2 * torch.finfo(X.dtype).eps * norms[:, :1]
    W = jacobi.completed(W / torch.where(null, 1, norms)[:, None, :], null)
    U, W = Q @ jacobi.polished(V), jacobi.polished(W)
    V = torch.zeros_like(W).scatter(-2, order[..., None].expand_as(W), W)
    S = jacobi.times_power_of_two(norms, exponent[:, None])
    if wide:
        U, V = V, U
    sign = jacobi.signs(U)
    U, Vh = U * sign, (V * sign).mT
    info = DEFICIENT * null.any(-1) + UNCONVERGED * unconverged
    info = torch.where(finite, info, NONFINITE).to(torch.int32)
    bad = ~finite[:, None, None]
    nan = float("nan")
    return (
        U.masked_fill(bad, nan).contiguous(),
        S.masked_fill(bad[:, 0], nan),
        Vh.masked_fill(bad, nan).contiguous(),
        info,
    )
