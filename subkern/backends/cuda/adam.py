"""Unprojected Adam on CUDA: two launches for every few dozen tensors."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor

from subkern.backends import native
from subkern.backends.cpu.tensors import CODES, addresses, is_dense
from subkern.backends.cuda.device import queue, rate, refusal
from subkern.backends.registry import register


def can_serve(
    *,
    params: Sequence[Tensor],
    grads: Sequence[Tensor],
    exp_avgs: Sequence[Tensor],
    exp_avg_sqs: Sequence[Tensor],
    **_: object,
) -> str | None:
    """None, or why this call needs another backend."""
    if (reason := refusal("adam", params, exp_avgs)) is not None:
        return reason
    for group in zip(params, grads, exp_avgs, exp_avg_sqs, strict=True):
        if all(t.is_contiguous() for t in group):  # the common case, and the cheaper question
            continue
        if not all(is_dense(t) for t in group) or len({t.stride() for t in group}) > 1:
            return "needs each parameter, gradient and moments dense with the same strides"
    return None


@register("adam", "cuda", can_serve)
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
    """See :func:`subkern.ops.adam.adam_`."""
    kernels, device = native.module("_CUDA"), params[0].device
    numel = [p.numel() for p in params]
    number, on_device = rate(lr, device)
    scratch = torch.empty(kernels.adam_workspace(numel=numel), dtype=torch.uint8, device=device)
    kernels.adam(
        W=addresses(params),
        G=addresses(grads),
        exp_avg=addresses(exp_avgs),
        exp_avg_sq=addresses(exp_avg_sqs),
        step=addresses(steps),
        skipped=addresses(skipped),
        numel=numel,
        w_dtype=CODES[params[0].dtype],
        lr=number,
        lr_address=0 if on_device is None else on_device.data_ptr(),
        beta1=beta1,
        beta2=beta2,
        eps=eps,
        weight_decay=weight_decay,
        post_decay=decay == "post",
        correct_bias=correct_bias,
        skip_nonfinite=skip_nonfinite,
        scratch=scratch.data_ptr(),
        scratch_bytes=scratch.numel(),
        **queue(device),
    )
