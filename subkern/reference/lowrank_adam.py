"""Low-rank projection + Adam step (GaLore, Fira) in plain PyTorch, written as published."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor
from torch.linalg import vector_norm

from subkern.reference.adam import (
    accumulation_dtype,
    is_finite,
    moments,
    step_size,
    store,
    updated,
)

# Residual energy below this share of a column's energy is round-off, not signal.
RESIDUAL_FLOOR = 1e-6


def project(X: Tensor, P: Tensor, Q: Tensor | None, side: str) -> Tensor:
    """R = P^T X (left), X P (right) or P^T X Q (full)."""
    if side == "right":
        return X @ P
    return P.mT @ X if Q is None else P.mT @ X @ Q


def project_back(N: Tensor, P: Tensor, Q: Tensor | None, side: str) -> Tensor:
    """P N (left), N P^T (right) or P N Q^T (full)."""
    if side == "right":
        return N @ P.mT
    return P @ N if Q is None else P @ N @ Q.mT


def fira_residual(
    X: Tensor,
    R: Tensor,
    N: Tensor,
    back: Tensor,
    limiter: Tensor,
    *,
    side: str,
    gamma: float,
    norm_eps: float,
    residual_scale: float,
    granularity: str,
    skip_residual: bool,
) -> tuple[Tensor, Tensor]:
    """Fira's limited residual: returns (s * S, new limiter), ``back`` being P R.

    phi_j = ||N_j|| / (||R_j|| + norm_eps); E = X - a P R; S = phi * E;
    s = 1 on the first step, else 1 / L with L = max(||S|| / (prev + norm_eps), gamma) / gamma.
    """
    if skip_residual:
        return torch.zeros_like(X), limiter
    axis = (0, 1) if granularity == "matrix" else (0,) if side == "left" else (1,)
    norm_R = vector_norm(R, dim=axis, keepdim=True)
    norm_N = vector_norm(N, dim=axis, keepdim=True)
    phi = torch.where(norm_R > 0, norm_N / (norm_R + norm_eps), 0)
    E = X - residual_scale * back
    norm_E = vector_norm(E, dim=axis, keepdim=True)
    floor = RESIDUAL_FLOOR**0.5 * vector_norm(X, dim=axis, keepdim=True)
    norm_S = vector_norm(phi * torch.where(norm_E < floor, 0, norm_E))
    # A limiter that has not seen a residual yet (0) neither limits nor divides by zero.
    growth = torch.clamp(norm_S / (limiter.to(X.dtype) + norm_eps), min=gamma) / gamma
    L = torch.where(limiter > 0, growth, torch.ones_like(growth))
    return phi * E / L, norm_S / L


def lowrank_adam_(
    params: Sequence[Tensor],
    grads: Sequence[Tensor],
    bases: Sequence[Tensor],
    exp_avgs: Sequence[Tensor],
    exp_avg_sqs: Sequence[Tensor],
    steps: Sequence[Tensor],
    skipped: Sequence[Tensor],
    limiters: Sequence[Tensor],
    bases_right: Sequence[Tensor],
    *,
    lr: Tensor,
    beta1: float,
    beta2: float,
    eps: float,
    weight_decay: float,
    correct_bias: bool,
    decay: str,
    side: str,
    rule: str,
    scale: float,
    gamma: float,
    norm_eps: float,
    alpha_in_residual: bool,
    granularity: str,
    skip_nonfinite: bool,
) -> None:
    """One step for each parameter; see :func:`subkern.ops.lowrank_adam.lowrank_adam_`."""
    for i, (W, G) in enumerate(zip(params, grads, strict=True)):
        exp_avg, exp_avg_sq, step = exp_avgs[i], exp_avg_sqs[i], steps[i]
        dtype = accumulation_dtype(W, exp_avg)
        X, P = G.to(dtype), bases[i].to(dtype)
        Q = bases_right[i].to(dtype) if side == "full" else None

        R = project(X, P, Q, side)
        take = is_finite(R, skip_nonfinite)
        t, eta = step_size(lr, step, beta1, beta2, correct_bias)
        M, V, N = moments(R, exp_avg, exp_avg_sq, beta1, beta2, eps)
        U = scale * project_back(N, P, Q, side)
        if rule == "fira":
            a = scale if alpha_in_residual else 1.0
            S, limiter = fira_residual(
                X,
                R,
                N,
                project_back(R, P, Q, side),
                limiters[i],
                side=side,
                gamma=gamma,
                norm_eps=norm_eps,
                residual_scale=a,
                granularity="matrix" if side == "full" else granularity,
                skip_residual=residual_is_roundoff(G.shape, P.shape[1], side, a),
            )
            U = U + S
            store(take, limiters[i], limiter)
        store(take, W, updated(W, U, eta, lr, weight_decay, decay))
        store(take, exp_avg, M)
        store(take, exp_avg_sq, V)
        store(take, step, t)
        skipped[i].add_(~take)


def residual_is_roundoff(shape: Sequence[int], rank: int, side: str, residual_scale: float) -> bool:
    """True when the basis spans the whole space and X - P R is zero but for rounding."""
    m, n = shape
    spanned = {"left": rank == m, "right": rank == n, "full": rank == m == n}[side]
    return spanned and residual_scale == 1.0
