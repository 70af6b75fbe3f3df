"""Step of Sparse Spectral Training on CUDA: one launch for all layers and both sides."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor

from subkern.backends import native
from subkern.backends.cpu.sst_adamw import layout_refusal, rows_and_homes
from subkern.backends.cpu.tensors import CODES, addresses
from subkern.backends.cuda.device import queue, rate, refusal
from subkern.backends.registry import register


def can_serve(
    *,
    params: Sequence[Tensor],
    grads: Sequence[Tensor],
    exp_avgs: Sequence[Tensor],
    exp_avg_sqs: Sequence[Tensor],
    tables: Sequence[Tensor],
    sampled: Sequence[Tensor],
    **_: object,
) -> str | None:
    """None, or why this call needs another backend."""
    lists = (params, grads, exp_avgs, exp_avg_sqs, tables, sampled)
    return refusal("sst_adamw", params, exp_avgs) or layout_refusal(*lists)


@register("sst_adamw", "cuda", can_serve)
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
    **options: float | bool,
) -> None:
    """See :func:`subkern.ops.sst_adamw.sst_adamw_`."""
    device = params[0].device
    number, on_device = rate(lr, device)
    counters = torch.zeros(len(params), dtype=torch.int32, device=device)
    native.module("_CUDA").sst_adamw(
        X=addresses(params),
        G=addresses(grads),
        exp_avg=addresses(exp_avgs),
        exp_avg_sq=addresses(exp_avg_sqs),
        step=addresses(steps),
        skipped=addresses(skipped),
        **rows_and_homes(params, tables, sampled),
        dtype=CODES[params[0].dtype],
        lr=number,
        lr_address=0 if on_device is None else on_device.data_ptr(),
        counters=counters.data_ptr(),
        **options,
        **queue(device),
    )
