"""Inner products by Triton: sums of parts, and their sum, in two launches."""

from __future__ import annotations

import torch
from torch import Tensor

from subkern.backends.cpu.vectors import dot_refusal
from subkern.backends.registry import register
from subkern.backends.triton import launch
from subkern.backends.triton.support import refusal
from subkern.backends.triton.vectors import Parts


def can_serve(*, u: Tensor, v: Tensor) -> str | None:
    """None, or why this call needs another backend."""
    return dot_refusal(u, v) or refusal([u], [])


@register("group_dot", "triton", can_serve)
def group_dot(u: Tensor, v: Tensor) -> Tensor:
    """See :func:`subkern.reference.group_dot.group_dot`."""
    from subkern.triton_kernels.group_dot import _group_dot_finish_kernel, _group_dot_parts_kernel

    if not u.numel():
        return torch.zeros(u.shape[0], dtype=torch.float64, device=u.device)
    parts, dot = Parts(u, v), u.new_empty(u.shape[0], dtype=torch.float64)
    sums = parts.sums(u.device)
    with launch.on(u.device):
        launch.run(
            _group_dot_parts_kernel,
            parts.grid,
            u_ptr=u,
            v_ptr=v,
            sums_ptr=sums["sums_ptr"],
            **parts.arguments(),
        )
        launch.run(_group_dot_finish_kernel, (parts.groups,), dot_ptr=dot, **sums)
    return dot
