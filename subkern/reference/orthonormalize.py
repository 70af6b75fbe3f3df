"""Orthonormal bases by mixed CholeskyQR2 with repair, batched and masked, in plain PyTorch.

A column is good when its pivot passed. From the first that failed on, columns are made one by one.
"""

from __future__ import annotations

import torch
from torch import Tensor

NONFINITE, DEFICIENT = 1, 2  # bits of info, as in subkern.ops
PIVOT = 2.0**-44  # (4 u32)^2: below it, what is left of a column may be rounding of its entries
KEPT = 2.0**-22  # 4 u32, the same for norms: what is left of a column still has a direction
THIRD_PASS = 0.05  # departure of a Gram matrix from the identity that asks for another pass


def pivot_threshold(rows: int) -> float:
    """Pivot over squared column norm that fails: max((4 u32)^2, 8 sqrt(m) u64)."""
    return max(PIVOT, 8 * rows**0.5 * 2.0**-53)


def factor(G: Tensor, good: Tensor, threshold: float) -> tuple[Tensor, Tensor]:
    """Upper triangular R with R^T R = G on the good columns, rows of the failed zero; and the good.

    Args:
        G: (b, k, k) float64 Gram matrices.
        good: (b, k) bool, columns that are still good.
        threshold: pivots at or below this share of the squared column norm fail.
    """
    R = torch.zeros_like(G)
    good = good.clone()
    for j in range(G.shape[-1]):
        row = G[:, j] - (R[:, :j, j].unsqueeze(1) @ R[:, :j]).squeeze(1)
        pivot = row[:, j]
        good[:, j] &= pivot > threshold * G[:, j, j]
        root = torch.where(good[:, j], pivot, 1.0).sqrt()
        R[:, j, j:] = torch.where(good[:, j, None], row[:, j:] / root[:, None], 0.0)
    return R, good


def _divided(Q: Tensor, R: Tensor, good: Tensor) -> Tensor:
    """Q R^-1 on the good columns, zero on the others, rounded to float32."""
    eye = torch.eye(R.shape[-1], dtype=R.dtype, device=R.device).expand_as(R)
    R = torch.where(good[:, None, :], R, eye)
    Q = Q @ torch.linalg.solve_triangular(R, eye, upper=True)
    return torch.where(good[:, None, :], Q, 0.0).float().double()


def _project(Q: Tensor, h: Tensor) -> tuple[Tensor, Tensor]:
    """(h - Q Q^T h, Q^T h) for one column h per matrix."""
    coefficients = (Q.mT @ h.unsqueeze(2)).squeeze(2)
    return h - (Q @ coefficients.unsqueeze(2)).squeeze(2), coefficients


def _least_leverage(Q: Tensor) -> Tensor:
    """The unit vector of the row of Q with the smallest norm; the first of equals."""
    row = (Q * Q).sum(2).argmin(1)
    return torch.nn.functional.one_hot(row, Q.shape[1]).to(Q.dtype)


def repair(Y: Tensor, Q: Tensor, R: Tensor, good: Tensor) -> tuple[Tensor, Tensor]:
    """Make the columns from the first failed one on by projection, one after the other.

    A column becomes what is left of it, or a unit vector where that is nothing. Good columns are
    made again too: next to small pivots, rounding can fail a pivot whose column does have a
    direction of its own, which a later column then takes; R would not be triangular.

    Args:
        Y: (b, m, k) float64, the columns, scaled.
        Q: (b, m, k) float64, orthonormal before the first failed column.
        R: (b, k, k) float64, of those columns.
        good: (b, k) bool.
    """
    Q, R = Q.clone(), R.clone()
    active = torch.zeros_like(good[:, 0])
    for j in range(Y.shape[2]):
        active |= ~good[:, j]
        if active.device.type == "cpu" and not active.any():
            continue
        done, column = Q[:, :, :j], Y[:, :, j]
        h, first = _project(done, column)
        h, second = _project(done, h)
        norm = h.norm(dim=1)
        keep = norm > KEPT * column.norm(dim=1)
        fill = _least_leverage(done)
        for _ in range(3):
            fill, _ = _project(done, fill)
        h = torch.where(keep[:, None], h / norm.clamp_min(1e-300)[:, None], fill)
        h, _ = _project(done, h / h.norm(dim=1, keepdim=True))
        h = (h / h.norm(dim=1, keepdim=True)).float().double()
        Q[:, :, j] = torch.where(active[:, None], h, Q[:, :, j])
        entries = torch.cat([first + second, torch.where(keep, norm, 0.0)[:, None]], 1)
        R[:, : j + 1, j] = torch.where(active[:, None], entries, R[:, : j + 1, j])
    return Q, R


def _cholesky_qr(Y: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    """(Q, R, deficient) in float64 with every entry of Q a float32."""
    b, m, k = Y.shape
    Y = Y.double()
    exponent = torch.frexp(Y.abs().amax(1)).exponent
    scale = torch.ldexp(torch.ones_like(exponent, dtype=Y.dtype), -exponent)
    Y = Y * scale[:, None, :]  # exact: powers of two, one per column
    good = torch.ones(b, k, dtype=torch.bool, device=Y.device)
    threshold = pivot_threshold(m)
    R, good = factor(Y.mT @ Y, good, threshold)
    Q = _divided(Y, R, good)
    eye = torch.eye(k, dtype=Y.dtype, device=Y.device)
    wanted = torch.ones(b, dtype=torch.bool, device=Y.device)
    for _ in range(2):
        G = torch.where(wanted[:, None, None], Q.mT @ Q, eye)
        G = G + torch.diag_embed((~good).to(Q.dtype))
        step, good = factor(G, good, threshold)
        Q = _divided(Q, step, good)
        R = step @ R
        wanted &= (G - eye).abs().amax((1, 2)) > THIRD_PASS
        if wanted.device.type == "cpu" and not wanted.any():
            break
    Q, R = repair(Y, Q, R, good)
    return Q, R / scale[:, None, :], (~good).any(1)


def _householder(Y: Tensor, eps: float) -> tuple[Tensor, Tensor, Tensor]:
    """(Q, R, deficient) in float64 by reflections, diag(R) >= 0."""
    Q, R = torch.linalg.qr(Y.double())
    diagonal = R.diagonal(dim1=1, dim2=2)
    sign = torch.where(diagonal < 0, -1.0, 1.0).to(R.dtype)
    deficient = (diagonal.abs() <= 16 * eps * R.norm(dim=1)).any(1)
    return Q * sign[:, None, :], R * sign[:, :, None], deficient


def orthonormalize(Y: Tensor, *, method: str) -> tuple[Tensor, Tensor, Tensor]:
    """Q with orthonormal columns, upper triangular R with Y = Q R and diag(R) >= 0, and info.

    float32 input takes CholeskyQR2 with Gram matrices in float64; float64 input has no such wider
    type, so that it always takes reflections.

    Args:
        Y: (b, m, k) with m >= k; bfloat16 is widened.
        method: ``"auto"`` or ``"householder"``.
    """
    b, m, k = Y.shape
    dtype = torch.float64 if Y.dtype == torch.float64 else torch.float32
    if Y.numel() == 0:
        info = torch.zeros(b, dtype=torch.int32, device=Y.device)
        return Y.new_zeros((b, m, k), dtype=dtype), Y.new_zeros((b, k, k), dtype=dtype), info
    finite = torch.isfinite(Y).all(2).all(1)
    Y = torch.where(finite[:, None, None], Y, 0)
    if method == "householder" or dtype == torch.float64:
        Q, R, deficient = _householder(Y, torch.finfo(dtype).eps)
    else:
        Q, R, deficient = _cholesky_qr(Y)
    info = torch.where(finite, deficient.int() * DEFICIENT, NONFINITE).to(torch.int32)
    Q, R = (torch.where(finite[:, None, None], X.to(dtype), torch.nan) for X in (Q, R))
    return Q.contiguous(), R.contiguous(), info
