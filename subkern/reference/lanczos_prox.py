"""Lanczos bases of normal operators, and what is solved within them, in plain PyTorch."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor

from subkern.reference.cg import as_complex, as_real
from subkern.reference.group_dot import group_dot


def lanczos(
    normal: Any,
    r: Tensor,
    steps: int,
    reorthogonalize: bool,
    dot: Callable[[Tensor, Tensor], Tensor] = group_dot,
) -> tuple[Tensor, ...]:
    """(V, alpha, beta) of N V = V T + beta_m v_{m+1} e_m^T, started at ``r``.

    Complex vectors are real ones of twice the length, on which N is symmetric: that is all that
    Lanczos asks for.

    Args:
        normal: N in its own layout.
        r: (samples, ...), contiguous.
        steps: m.
        reorthogonalize: against all earlier vectors, twice.
        dot: the inner product.

    Returns:
        V (samples, m, n) of real numbers; alpha (samples, m) and beta (samples, m + 1) float64,
        where beta[:, 0] is the norm of r. From a beta that is 0 on (an invariant subspace), the
        rest is 0.
    """
    samples = len(r)
    w = as_real(r, samples)
    basis: list[Tensor] = []  # one by one: each is contiguous, whatever the number of samples
    alpha = torch.zeros((samples, steps), dtype=torch.float64, device=r.device)
    beta = torch.zeros((samples, steps + 1), dtype=torch.float64, device=r.device)
    beta[:, 0] = dot(w, w).sqrt()
    eps = torch.finfo(w.dtype).eps
    largest = torch.zeros(samples, dtype=torch.float64, device=r.device)
    for j in range(steps):
        size = beta[:, j, None]
        basis.append(w * torch.where(size > 0, 1 / size, 0.0).to(w.dtype))
        found = as_real(normal(as_complex(basis[j], r)), samples)
        alpha[:, j] = dot(basis[j], found)
        w = found.clone()  # an operator may keep or share what it answers
        if reorthogonalize:
            for _ in range(2):
                for v in basis:
                    w.addcmul_(v, dot(v, w)[:, None].to(w.dtype), value=-1)
        else:
            w.addcmul_(basis[j], alpha[:, j, None].to(w.dtype), value=-1)
            if j:
                w.addcmul_(basis[j - 1], beta[:, j, None].to(w.dtype), value=-1)
        norm = dot(w, w).sqrt()
        largest = torch.maximum(largest, alpha[:, j] + beta[:, j] * (j > 0))
        # What is left of an exhausted space is rounding, and no direction.
        beta[:, j + 1] = torch.where(norm > 4 * eps * largest, norm, 0.0)
    return torch.stack(basis, 1), alpha, beta


def tridiagonal(alpha: Tensor, beta: Tensor) -> Tensor:
    """T (samples, m, m) float64."""
    inner = torch.diag_embed(beta[:, 1:-1], 1)
    return torch.diag_embed(alpha) + inner + inner.mT


def coefficients(T: Tensor, beta0: Tensor, gamma: Tensor) -> Tensor:
    """(samples, m) float64: c = (T + I / gamma)^-1 e1 beta0, which is 0 where gamma is.

    NaN where I + gamma T is not positive definite: N was not.
    """
    eye = torch.eye(T.shape[1], dtype=T.dtype, device=T.device)
    L, failed = torch.linalg.cholesky_ex(eye + gamma[:, None, None] * T)
    first = eye[:, :1] * (gamma * beta0)[:, None, None]
    c = torch.cholesky_solve(first, L)[:, :, 0]
    return c.masked_fill(failed[:, None] != 0, torch.nan)


def data_residual(T: Tensor, beta0: Tensor, start: Tensor, gamma: Tensor) -> Tensor:
    """(samples,) float64: ||A x - y||^2 at x(gamma), given that at the centre."""
    c = coefficients(T, beta0, gamma)
    bent = (c[:, :, None] * T * c[:, None, :]).sum((1, 2))
    return (start - 2 * c[:, 0] * beta0 + bent).clamp_min(0.0)


def discrepancy(
    T: Tensor, beta0: Tensor, start: Tensor, target: Tensor, low: float, high: float
) -> Tensor:
    """(samples,) float64: the gamma in [low, high] whose data residual is ``target`` (squared).

    The residual falls as gamma grows: bisection in log gamma, to the last bits, without a read.
    """
    a = torch.full_like(beta0, low).log()
    b = torch.full_like(beta0, high).log()
    for _ in range(60):
        middle = (a + b) / 2
        above = data_residual(T, beta0, start, middle.exp()) > target
        a, b = torch.where(above, middle, a), torch.where(above, b, middle)
    return ((a + b) / 2).exp()
