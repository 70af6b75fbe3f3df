"""Step of Sparse Spectral Training on singular values and sampled singular vectors."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor

from subkern.reference.adam import accumulation_dtype, store


def sst_adamw_(
    params: Sequence[Tensor],
    grads: Sequence[Tensor],
    exp_avgs: Sequence[Tensor],
    exp_avg_sqs: Sequence[Tensor],
    steps: Sequence[Tensor],
    skipped: Sequence[Tensor],
    tables: Sequence[Tensor],
    sampled: Sequence[Tensor],
    *,
    lr: Tensor,
    value_scale: float,
    vector_scale: float,
    beta1: float,
    beta2: float,
    eps: float,
    weight_decay: float,
    warmup: int,
    skip_nonfinite: bool,
) -> None:
    """See :func:`subkern.ops.sst_adamw.sst_adamw_`."""
    if params and params[0].device.type == "cpu":
        for j, (table, rows) in enumerate(zip(tables, sampled, strict=True)):
            _check_rows(j, rows, len(table))
    homes = zip(tables, sampled, strict=True)
    columns = (params, grads, exp_avgs, exp_avg_sqs, steps, skipped)
    for X, dX, exp_avg, exp_avg_sq, step, skips in zip(*columns, strict=True):
        G = dX.to(accumulation_dtype(X, exp_avg))
        take = torch.isfinite(G).all(dim=-1, keepdim=True)
        if not skip_nonfinite:
            take = torch.ones_like(take)
        step.add_(1)
        t = step.to(torch.float64)
        M = beta1 * exp_avg.to(G.dtype) + (1 - beta1) * G
        V = beta2 * exp_avg_sq.to(G.dtype) + (1 - beta2) * G * G
        root = (V / (1 - beta2**t).to(G.dtype)).sqrt()
        N = M / (1 - beta1**t).to(G.dtype) / (root + eps)
        store(take, exp_avg, M)
        store(take, exp_avg_sq, V)
        if X.dim() == 1:
            eta = lr.to(torch.float64) * value_scale
            decay = (1 - eta * weight_decay).to(G.dtype)
            store(take, X, torch.clamp(decay * X.to(G.dtype) - eta.to(G.dtype) * N, min=0))
        else:
            ramp = torch.clamp(t / max(warmup, 1), max=1)
            eta = lr.to(torch.float64) * vector_scale * ramp
            moved = X.to(G.dtype) - eta.to(G.dtype) * N
            norm = torch.linalg.vector_norm(moved, dim=1, keepdim=True)
            store(take & (norm != 0), X, moved / norm)
            table, rows = next(homes)
            table.index_copy_(0, rows, X)
        skips.add_((~take).sum())


def _check_rows(j: int, rows: Tensor, count: int) -> None:
    """Raise where an index is no row of its table; nothing has been written then."""
    for row in (int(rows.min()), int(rows.max())) if rows.numel() else ():
        if not 0 <= row < count:
            raise ValueError(
                f"sst_adamw: sampled[{j}] must hold rows of its table, in [0, {count}), got {row}"
            )
