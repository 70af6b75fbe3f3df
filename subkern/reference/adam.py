"""Adam core of the GaLore family, and the unprojected step, in plain PyTorch."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor


def accumulation_dtype(*tensors: Tensor) -> torch.dtype:
    """float64 if any argument is, else float32: storage never lowers the arithmetic."""
    return torch.float64 if any(t.dtype == torch.float64 for t in tensors) else torch.float32


def store(keep: Tensor, target: Tensor, value: Tensor) -> None:
    """Write ``value`` where ``keep`` holds; a tensor condition, so that no host read is needed."""
    target.copy_(torch.where(keep, value.to(target.dtype), target))


def is_finite(R: Tensor, skip_nonfinite: bool) -> Tensor:
    """0-dim condition under which the step is taken."""
    if skip_nonfinite:
        return torch.isfinite(R).all()
    return torch.ones((), dtype=torch.bool, device=R.device)


def step_size(
    lr: Tensor, step: Tensor, beta1: float, beta2: float, correct_bias: bool
) -> tuple[Tensor, Tensor]:
    """Returns (t, eta): the new step count and lr * sqrt(1 - beta2^t) / (1 - beta1^t).

    A rate on the CPU stays there: arithmetic takes it by value, where a copy would wait.
    """
    t = step + 1
    lr = lr.to(torch.float64)
    if not correct_bias:
        return t, lr
    count = t.to(torch.float64)
    return t, lr * torch.sqrt(1 - beta2**count) / (1 - beta1**count)


def moments(
    R: Tensor, exp_avg: Tensor, exp_avg_sq: Tensor, beta1: float, beta2: float, eps: float
) -> tuple[Tensor, Tensor, Tensor]:
    """Returns (M, V, N): M = b1 M + (1-b1) R, V = b2 V + (1-b2) R^2, N = M / (sqrt(V) + eps)."""
    M = beta1 * exp_avg.to(R.dtype) + (1 - beta1) * R
    V = beta2 * exp_avg_sq.to(R.dtype) + (1 - beta2) * R * R
    return M, V, M / (V.sqrt() + eps)


def updated(
    W: Tensor, U: Tensor, eta: Tensor, lr: Tensor, weight_decay: float, decay: str
) -> Tensor:
    """W after the update U: (W - eta U)(1 - lr wd), or W (1 - lr wd) - eta U for decay="pre"."""
    factor = (1 - lr.to(torch.float64) * weight_decay).to(U.dtype)
    change = eta.to(U.dtype) * U
    W = W.to(U.dtype)
    return (W - change) * factor if decay == "post" else W * factor - change


def adam_(
    params: Sequence[Tensor],
    grads: Sequence[Tensor],
    exp_avgs: Sequence[Tensor],
    exp_avg_sqs: Sequence[Tensor],
    steps: Sequence[Tensor],
    skipped: Sequence[Tensor],
    *,
    lr: Tensor,
    beta1: float,
    beta2: float,
    eps: float,
    weight_decay: float,
    correct_bias: bool,
    decay: str,
    skip_nonfinite: bool,
) -> None:
    """Unprojected step of the GaLore family; see :func:`subkern.ops.adam.adam_`."""
    for W, G, exp_avg, exp_avg_sq, step, skips in zip(
        params, grads, exp_avgs, exp_avg_sqs, steps, skipped, strict=True
    ):
        R = G.to(accumulation_dtype(W, exp_avg))
        take = is_finite(R, skip_nonfinite)
        t, eta = step_size(lr, step, beta1, beta2, correct_bias)
        M, V, N = moments(R, exp_avg, exp_avg_sq, beta1, beta2, eps)
        store(take, W, updated(W, N, eta, lr, weight_decay, decay))
        store(take, exp_avg, M)
        store(take, exp_avg_sq, V)
        store(take, step, t)
        skips.add_(~take)
