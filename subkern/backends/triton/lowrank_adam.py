"""Low-rank Adam step on the GPU: project, moments, update, one launch each for a whole chunk."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any

from torch import Tensor

from subkern.backends.registry import register
from subkern.backends.triton import launch
from subkern.backends.triton.lowrank_launch import moments, project, update
from subkern.backends.triton.lowrank_plan import (
    Chunk,
    Plan,
    Scratch,
    has_unit_stride,
    make_chunks,
    make_plan,
    make_scratch,
)
from subkern.backends.triton.support import refusal

Moments = Callable[[Plan, Chunk, Scratch], None]

# Parameters of one chunk, at most: z of a launch grid ends at 65535.
MOST = 4096
# Offsets within a tile of 128 rows are int32 in the kernels.
LONGEST_STRIDE = (1 << 31) // 128


def can_serve(
    *,
    params: Sequence[Tensor],
    grads: Sequence[Tensor],
    bases: Sequence[Tensor],
    exp_avgs: Sequence[Tensor],
    exp_avg_sqs: Sequence[Tensor],
    bases_right: Sequence[Tensor] = (),
    **_: object,
) -> str | None:
    """None, or why this call needs another backend."""
    if (reason := refusal(params, exp_avgs)) is not None:
        return reason
    if bases and bases[0].dtype != params[0].dtype:
        return f"needs bases of the parameters' dtype {params[0].dtype}, got {bases[0].dtype}"
    if not all(has_unit_stride(t) for t in (*params, *grads)):
        return "needs parameters and gradients with unit stride along rows or columns"
    if not all(has_unit_stride(t) for t in (*bases, *bases_right)):
        return "needs bases with unit stride along rows or columns"
    if not all(t.is_contiguous() for t in (*exp_avgs, *exp_avg_sqs)):
        return "needs contiguous moments"
    lists = (params, grads, bases, bases_right, exp_avgs)
    longest = max((s for tensors in lists for t in tensors for s in t.stride()), default=0)
    if longest >= LONGEST_STRIDE:
        return f"needs strides below {LONGEST_STRIDE} elements, got {longest}"
    return None


def step(call: Mapping[str, Any], moments: Moments, most: int = MOST) -> None:
    """One call of ``lowrank_adam_`` with ``moments`` as the stage between the products.

    Args:
        call: the arguments of the op, by name.
        moments: launches the stage for a chunk.
        most: parameters that the stage takes at once.
    """
    if call["params"][0].numel() == 0:  # nothing to project: the kernels take matrices of elements
        for count in call["steps"]:
            count.add_(1)
        return
    plan = make_plan(call)
    scratch: Scratch | None = None
    with launch.on(plan.device):
        for chunk in make_chunks(plan, call, most):
            # Chunks run one after the other: the next one takes over what the last one has used.
            if scratch is None or scratch.counters.numel() != chunk.count:
                scratch = make_scratch(plan, chunk.count)
            project(plan, chunk, scratch)
            if not plan.fused:
                moments(plan, chunk, scratch)
            update(plan, chunk, scratch)


@register("lowrank_adam", "triton", can_serve)
def lowrank_adam_(**call: Any) -> None:
    """See :func:`subkern.ops.lowrank_adam.lowrank_adam_`."""
    step(call, moments)
