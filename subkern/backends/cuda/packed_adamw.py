"""AdamW on listed entries on CUDA: one launch for the whole list."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor

from subkern.backends import native
from subkern.backends.cpu.packed_adamw import layout_refusal, lists
from subkern.backends.cuda.device import queue, rate, refusal
from subkern.backends.registry import register


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
    return refusal("packed_adamw", params, exp_avgs) or layout_refusal(*tensors)


@register("packed_adamw", "cuda", can_serve)
def packed_adamw_(
    params: Sequence[Tensor],
    grads: Sequence[Tensor],
    indices: Sequence[Tensor],
    exp_avgs: Sequence[Tensor],
    exp_avg_sqs: Sequence[Tensor],
    steps: Sequence[Tensor],
    *,
    lr: Tensor,
    **options: float,
) -> None:
    """See :func:`subkern.ops.packed_adamw.packed_adamw_`."""
    device = params[0].device
    number, on_device = rate(lr, device)
    counters = torch.zeros(len(params), dtype=torch.int32, device=device)
    native.module("_CUDA").packed_adamw(
        **lists(params, grads, indices, exp_avgs, exp_avg_sqs, steps),
        lr=number,
        lr_address=0 if on_device is None else on_device.data_ptr(),
        counters=counters.data_ptr(),
        **options,
        **queue(device),
    )
