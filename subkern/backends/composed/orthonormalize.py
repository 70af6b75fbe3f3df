"""Orthonormalization of many columns: torch's products around a small factorization.

No value is read back on an accelerator. There the factorization and the repair come from the
backend as ``factor`` and ``repair``; without them the reference's loops run, masked.
"""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterator

import torch
from torch import Tensor

from subkern.reference import orthonormalize as reference

PANEL_BYTES = 64 << 20  # of the float64 copy that the Gram matrix is summed from

# (G, good, threshold) -> (R, good) and (Y, Q, R, good) -> (Q, R), as in the reference.
Factor = Callable[[Tensor, Tensor, float], tuple[Tensor, Tensor]]
Repair = Callable[[Tensor, Tensor, Tensor, Tensor], tuple[Tensor, Tensor]]


@contextlib.contextmanager
def full_float32(device: torch.device) -> Iterator[None]:
    """Products of float32 in float32 on a GPU, whatever TF32 setting the caller has."""
    before = torch.backends.cuda.matmul.allow_tf32
    if device.type != "cuda" or not before:
        yield
        return
    torch.backends.cuda.matmul.allow_tf32 = False
    try:
        yield
    finally:
        torch.backends.cuda.matmul.allow_tf32 = before


def _where(keep: Tensor, value: Tensor, other: Tensor | float) -> Tensor:
    """torch.where; the CPU may look, and copies nothing where all is kept."""
    if keep.device.type == "cpu" and bool(keep.all()):
        return value
    return torch.where(keep, value, other)


def _gram(Y: Tensor) -> Tensor:
    """Y^T Y in float64, from float64 copies of panels of rows."""
    b, m, k = Y.shape
    rows = max(k, PANEL_BYTES // (8 * b * k))
    G = torch.zeros(b, k, k, dtype=torch.float64, device=Y.device)
    for start in range(0, m, rows):
        panel = Y[:, start : start + rows].double()
        for i in range(b):  # one at a time: faster than a batch of one
            G[i].addmm_(panel[i].T, panel[i])
    return G


def _factor(G: Tensor, good: Tensor, threshold: float) -> tuple[Tensor, Tensor]:
    """On the CPU LAPACK's Cholesky where every pivot passes, else the reference's loop."""
    if G.device.type == "cpu":
        L, failed = torch.linalg.cholesky_ex(G)
        R = L.mT
        pivots = R.diagonal(dim1=1, dim2=2).square()
        passed = pivots > threshold * G.diagonal(dim1=1, dim2=2)
        if not failed.any() and bool((passed & good).all()):
            return R, good
    return reference.factor(G, good, threshold)


def _divided(Q: Tensor, R: Tensor, good: Tensor) -> Tensor:
    """Q R^-1 in float32 on the good columns, zero on the others.

    By substitution: a product with the inverse has an error that grows with the condition of R
    (Kahan's matrix of 72 columns: a residual of 13 times the matrix).
    """
    eye = torch.eye(R.shape[-1], dtype=R.dtype, device=R.device).expand_as(R)
    R = _where(good[:, None], R, eye).float()
    with full_float32(Q.device):
        Q = torch.linalg.solve_triangular(R, Q, upper=True, left=False)
    return _where(good[:, None], Q, 0.0)


def _repair(Y: Tensor, Q: Tensor, R: Tensor, good: Tensor) -> tuple[Tensor, Tensor]:
    """The reference's loop, on the CPU for the matrices that need it."""
    if Y.device.type != "cpu":
        Q, R = reference.repair(Y.double(), Q.double(), R, good)
        return Q.float(), R
    bad = (~good).any(1).nonzero().flatten()
    if bad.numel():
        fixed = reference.repair(Y[bad].double(), Q[bad].double(), R[bad], good[bad])
        Q[bad], R[bad] = fixed[0].float(), fixed[1]
    return Q, R


def orthonormalize(
    Y: Tensor, *, factor: Factor = _factor, repair: Repair = _repair
) -> tuple[Tensor, Tensor, Tensor]:
    """(Q, R, info) of float32 or bfloat16 Y (b, m, k), as the op ``orthonormalize`` returns them.

    Args:
        Y: any strides and device.
        factor: factors (b, k, k) float64 Gram matrices, as :func:`reference.factor`.
        repair: makes the columns from the first failed one on, as :func:`reference.repair`; takes
            and returns Q in float32, Y is scaled.
    """
    b, m, k = Y.shape
    if b == 0 or k == 0:
        return reference.orthonormalize(Y, method="auto")
    largest = Y.abs().amax(1)  # NaN where a column has one
    finite = torch.isfinite(largest).all(1)
    Y = _where(finite[:, None, None], Y, 0).float()
    largest = _where(finite[:, None], largest, 0).float()
    exponent = torch.frexp(largest).exponent.clamp(-126, 126)
    scale = torch.ldexp(torch.ones_like(exponent, dtype=torch.float64), -exponent)
    Y = Y * scale.float()[:, None, :]
    threshold = reference.pivot_threshold(m)
    good = torch.ones(b, k, dtype=torch.bool, device=Y.device)
    R, good = factor(_gram(Y), good, threshold)
    Q = _divided(Y, R, good)
    eye = torch.eye(k, dtype=torch.float64, device=Y.device)
    wanted = torch.ones(b, dtype=torch.bool, device=Y.device)
    for _ in range(2):
        G = _where(wanted[:, None, None], _gram(Q), eye)
        G.diagonal(dim1=1, dim2=2).add_((~good).double())
        off = (G - eye).abs().amax((1, 2)) > reference.THIRD_PASS
        step, good = factor(G, good, threshold)
        Q = _where(wanted[:, None, None], _divided(Q, step, good), Q)
        R = _where(wanted[:, None, None], step @ R, R)
        wanted = wanted & off
        if wanted.device.type == "cpu" and not wanted.any():
            break
    deficient = (~good).any(1)
    Q, R = repair(Y, Q, R, good)
    info = torch.where(finite, deficient.int() * reference.DEFICIENT, reference.NONFINITE)
    R = (R / scale[:, None, :]).float()
    Q, R = (_where(finite[:, None, None], X, torch.nan) for X in (Q, R))
    return Q.contiguous(), R.contiguous(), info.to(torch.int32)
