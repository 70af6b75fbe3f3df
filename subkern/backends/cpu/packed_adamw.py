"""AdamW on listed entries on the CPU: one native call for the whole list."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor

from subkern.backends import native
from subkern.backends.cpu.tensors import CODES, addresses, empty, refusal
from subkern.backends.registry import register


def layout_refusal(*lists: Sequence[Tensor]) -> str | None:
    """Why the kernels cannot take tensors like these, or None."""
    if not all(t.is_contiguous() for tensors in lists for t in tensors):
        return "needs contiguous parameters, gradients, indices and states"
    return None


def lists(
    params: Sequence[Tensor],
    grads: Sequence[Tensor],
    indices: Sequence[Tensor],
    exp_avgs: Sequence[Tensor],
    exp_avg_sqs: Sequence[Tensor],
    steps: Sequence[Tensor],
) -> dict[str, Any]:
    """Arguments of a kernel: addresses, sizes and kinds."""
    return dict(
        W=addresses(params),
        G=addresses(grads),
        indices=addresses(indices),
        exp_avg=addresses(exp_avgs),
        exp_avg_sq=addresses(exp_avg_sqs),
        step=addresses(steps),
        numel=[p.numel() for p in params],
        listed=[at.numel() for at in indices],
        packed=[g.shape != p.shape for p, g in zip(params, grads, strict=True)],
        per_entry=[t.dim() == 1 for t in steps],
        w_dtype=CODES[params[0].dtype],
        wide=indices[0].dtype == torch.int64,
    )


def can_serve(
    *,
    params: Sequence[Tensor],
    grads: Sequence[Tensor],
    indices: Sequence[Tensor],
    exp_avgs: Sequence[Tensor],
    exp_avg_sqs: Sequence[Tensor],
    steps: Sequence[Tensor],
    **_: object,
) -> str | None:
    """None, or why this call needs another backend."""
    tensors = (params, grads, indices, exp_avgs, exp_avg_sqs, steps)
    return refusal(params, exp_avgs) or layout_refusal(*tensors)


@register("packed_adamw", "cpu", can_serve)
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
    rate = float(lr)
    # One bit for each element of the largest parameter; touched where indices do not ascend.
    bits = empty((max(p.numel() for p in params) + 63) // 64, dtype=torch.int64)
    native.module().packed_adamw(
        **lists(params, grads, indices, exp_avgs, exp_avg_sqs, steps),
        lr=rate,
        beta1=beta1,
        beta2=beta2,
        eps=eps,
        decay=1.0 - rate * weight_decay,
        bits=bits.data_ptr(),
        bits_bytes=bits.nbytes,
        threads=torch.get_num_threads(),
    )
