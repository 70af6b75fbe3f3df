"""Unprojected Adam on the GPU: two launches for the whole list."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor

from subkern.backends.cpu.tensors import is_dense
from subkern.backends.registry import register
from subkern.backends.triton import launch
from subkern.backends.triton.lowrank_plan import log_beta
from subkern.backends.triton.support import refusal
from subkern.backends.triton.tables import table
from subkern.triton_kernels.configs import ADAM_BLOCK, ADAM_WARPS, adam_chunk, ceil_div

LISTS = ("params", "grads", "exp_avgs", "exp_avg_sqs", "steps", "skipped")
# Rows of the table: addresses, then the element counts and the first block of every tensor.
ROWS = {name: row for row, name in enumerate((*LISTS, "sizes", "first"))}


def can_serve(
    *,
    params: Sequence[Tensor],
    grads: Sequence[Tensor],
    exp_avgs: Sequence[Tensor],
    exp_avg_sqs: Sequence[Tensor],
    **_: object,
) -> str | None:
    """None, or why this call needs another backend."""
    if (reason := refusal(params, exp_avgs)) is not None:
        return reason
    for group in zip(params, grads, exp_avgs, exp_avg_sqs, strict=True):
        if not all(is_dense(t) for t in group) or len({t.stride() for t in group}) > 1:
            return "needs each parameter, gradient and moments dense with the same strides"
    return None


@register("adam", "triton", can_serve)
def adam_(**call: Any) -> None:
    """See :func:`subkern.ops.adam.adam_`."""
    # Tensors that start at odd addresses get launches of their own: theirs are the slow loads.
    groups: dict[tuple[int, int], list[int]] = {}
    for i in range(len(call["params"])):
        params, moments = (
            _vector(*(call[name][i] for name in names)) for names in (LISTS[:2], LISTS[2:4])
        )
        groups.setdefault((params, moments), []).append(i)
    with launch.on(call["params"][0].device):
        for (vector, state_vector), members in groups.items():
            _step({k: [call[k][i] for i in members] for k in LISTS}, call, vector, state_vector)


def _vector(*tensors: Tensor) -> int:
    """Elements that an aligned access to every one of the tensors may take."""
    width = 16 // tensors[0].element_size()
    return math.gcd(width, *(t.data_ptr() // t.element_size() for t in tensors))


def _step(
    lists: dict[str, list[Tensor]], call: dict[str, Any], vector: int, state_vector: int
) -> None:
    import triton.language as tl

    from subkern.triton_kernels.adam import _adam_scan_kernel, _adam_update_kernel

    params, lr, skip = lists["params"], call["lr"], call["skip_nonfinite"]
    device, count = params[0].device, len(params)
    sizes = [p.numel() for p in params]
    chunk = adam_chunk(sum(sizes))
    blocks = [max(1, ceil_div(size, chunk)) for size in sizes]
    first = [sum(blocks[:i]) for i in range(count)]
    rows = [[t.data_ptr() for t in lists[name]] for name in LISTS]
    facts: dict[str, Any] = dict(
        table_ptr=table([*rows, sizes, first], device),
        blocks_ptr=table(
            [[i for i in range(count) for _ in range(blocks[i])]], device, torch.int32
        ),
        flags_ptr=torch.empty(sum(blocks), dtype=torch.int32, device=device),
        scalars_ptr=torch.empty(count, 2, dtype=torch.float32, device=device),
        count=count,
        G_ROW=ROWS["grads"],
        STEP_ROW=ROWS["steps"],
        SIZE_ROW=ROWS["sizes"],
        FIRST_ROW=ROWS["first"],
        SKIP=skip,
        DTYPE=tl.bfloat16 if params[0].dtype == torch.bfloat16 else tl.float32,
        VECTOR=vector,
        CHUNK=chunk,
        BLOCK=ADAM_BLOCK,
        num_warps=ADAM_WARPS,
    )
    on_host = lr.device.type == "cpu"
    launch.run(
        _adam_scan_kernel,
        (sum(blocks),),
        lr_ptr=facts["scalars_ptr"] if on_host else lr.to(device, torch.float32),
        lr=float(lr) if on_host else 0.0,
        log_beta1=log_beta(call["beta1"]),
        log_beta2=log_beta(call["beta2"]),
        weight_decay=call["weight_decay"],
        LR_TENSOR=not on_host,
        CORRECT_BIAS=call["correct_bias"],
        POST_DECAY=call["decay"] == "post",
        **facts,
    )
    launch.run(
        _adam_update_kernel,
        (sum(blocks),),
        beta1=call["beta1"],
        beta2=call["beta2"],
        rest1=1.0 - call["beta1"],
        rest2=1.0 - call["beta2"],
        eps=call["eps"],
        W_ROW=ROWS["params"],
        M_ROW=ROWS["exp_avgs"],
        V_ROW=ROWS["exp_avg_sqs"],
        SKIPPED_ROW=ROWS["skipped"],
        STATE_VECTOR=state_vector,
        **facts,
    )
