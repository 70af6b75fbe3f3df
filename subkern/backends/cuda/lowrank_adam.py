"""Low-rank Adam step on CUDA: the products by Triton, the stage between them by CUDA kernels."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor

from subkern.backends import native
from subkern.backends.cpu.tensors import CODES
from subkern.backends.cuda.device import queue, refusal
from subkern.backends.registry import register
from subkern.backends.triton import lowrank_adam as products
from subkern.backends.triton.lowrank_plan import Chunk, Plan, Scratch

RULE_CODES = {False: 0, True: 1}  # galore, fira


def can_serve(*, params: Sequence[Tensor], exp_avgs: Sequence[Tensor], **call: Any) -> str | None:
    """None, or why this call needs another backend."""
    if (reason := refusal("lowrank_adam", params, exp_avgs)) is not None:
        return reason
    return products.can_serve(params=params, exp_avgs=exp_avgs, **call)


@register("lowrank_adam", "cuda", can_serve)
def lowrank_adam_(**call: Any) -> None:
    """See :func:`subkern.ops.lowrank_adam.lowrank_adam_`."""
    products.step(call, moments, native.module("_CUDA").moments_params_per_launch)


def moments(plan: Plan, chunk: Chunk, scratch: Scratch) -> None:
    """The stage between the products, for all parameters of a chunk in one launch."""
    kernels, rule = native.module("_CUDA"), RULE_CODES[plan.fira]
    floats = kernels.lowrank_adam_block_sums(
        count=chunk.count,
        rows=plan.rows,
        cols=plan.cols,
        column_axis=plan.column_axis,
        rule=rule,
    )
    block_sums = torch.empty(floats, dtype=torch.float32, device=plan.device)
    kernels.lowrank_adam_moments(
        exp_avg=chunk.addresses["exp_avgs"],
        exp_avg_sq=chunk.addresses["exp_avg_sqs"],
        step=chunk.addresses["steps"],
        limiter=chunk.addresses["limiters"] if plan.fira else [],
        rows=plan.rows,
        cols=plan.cols,
        ld=plan.ld,
        column_axis=plan.column_axis,
        dtype=CODES[plan.dtype],
        rule=rule,
        partials=_address(scratch.partials),
        slices=plan.slices,
        tile_flags=_address(scratch.tile_flags),
        tiles=plan.tiles,
        direction=_address(scratch.direction),
        lowrank=_address(scratch.lowrank),
        squares=_address(scratch.squares),
        square_slices=plan.square_slices,
        columns=plan.columns,
        counters=_address(scratch.counters),
        phi=_address(scratch.phi),
        scalars=_address(scratch.scalars),
        block_sums=_address(block_sums),
        block_sums_floats=floats,
        lr=plan.lr,
        lr_address=_address(plan.lr_tensor),
        beta1=plan.beta1,
        beta2=plan.beta2,
        eps=plan.eps,
        weight_decay=plan.weight_decay,
        post_decay=plan.post_decay,
        correct_bias=plan.correct_bias,
        skip_nonfinite=plan.skip_nonfinite,
        scale=plan.scale,
        gamma=plan.gamma,
        norm_eps=plan.norm_eps,
        residual_scale=plan.residual_scale,
        matrix_norm=plan.matrix_norm,
        **queue(plan.device),
    )


def _address(tensor: Tensor | None) -> int:
    """Address of a buffer, 0 for one that the rule does not have."""
    return 0 if tensor is None else tensor.data_ptr()
