"""AdamW on listed entries, in plain PyTorch."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor

from subkern.reference.adam import accumulation_dtype


def check_indices(i: int, indices: Tensor, numel: int) -> None:
    """Raise where an index is out of range or listed twice."""
    if not indices.numel():
        return
    for bound in (int(indices.min()), int(indices.max())):
        if not 0 <= bound < numel:
            raise ValueError(f"packed_adamw: indices[{i}] must be in [0, {numel}), got {bound}")
    ascending = indices.sort().values
    twice = ascending[1:][ascending[1:] == ascending[:-1]]
    if twice.numel():
        raise ValueError(
            f"packed_adamw: indices[{i}] must not repeat, got {int(twice[0])} more than once"
        )


def packed_adamw_(
    params: Sequence[Tensor],
    grads: Sequence[Tensor],
    indices: Sequence[Tensor],
    exp_avgs: Sequence[Tensor],
    exp_avg_sqs: Sequence[Tensor],
    steps: Sequence[Tensor],
    *,
    lr: Tensor,
    beta1: float,
    beta2: float,
    eps: float,
    weight_decay: float,
) -> None:
    """See :func:`subkern.ops.packed_adamw.packed_adamw_`."""
    if params[0].device.type == "cpu":
        for i, (W, at) in enumerate(zip(params, indices, strict=True)):
            check_indices(i, at, W.numel())
    for W, G, at, exp_avg, exp_avg_sq, step in zip(
        params, grads, indices, exp_avgs, exp_avg_sqs, steps, strict=True
    ):
        at = at.long()
        dense = G.shape == W.shape
        work = accumulation_dtype(W, exp_avg)
        w, g = W.take(at).to(work), (G.take(at) if dense else G).to(work)
        step.add_(1)
        count, rate = step.to(torch.float64), lr.to(torch.float64)
        size = (rate / (1 - beta1**count)).to(work)
        root = torch.sqrt(1 - beta2**count).to(work)
        m = beta1 * exp_avg.to(work) + (1 - beta1) * g
        v = beta2 * exp_avg_sq.to(work) + (1 - beta2) * g * g
        w = w * (1 - rate * weight_decay).to(work) - size * m / (v.sqrt() / root + eps)
        W.put_(at, w.to(W.dtype))
        exp_avg.copy_(m)
        exp_avg_sq.copy_(v)
