"""Inner products on the CPU: blocks of all groups on threads."""

from __future__ import annotations

import torch
from torch import Tensor

from subkern.backends import native
from subkern.backends.cpu.tensors import empty
from subkern.backends.cpu.vectors import dot_refusal
from subkern.backends.registry import register


def can_serve(*, u: Tensor, v: Tensor) -> str | None:
    """None, or why this call needs another backend."""
    if u.device.type != "cpu":
        return f"serves CPU tensors only, got {u.device.type}"
    return dot_refusal(u, v) or native.refusal()


@register("group_dot", "cpu", can_serve)
def group_dot(u: Tensor, v: Tensor) -> Tensor:
    """See :func:`subkern.reference.group_dot.group_dot`."""
    groups, n = u.shape
    kernels = native.module()
    dot = empty(groups, dtype=torch.float64)
    scratch = empty(kernels.group_dot_workspace(groups=groups, n=n), dtype=torch.uint8)
    kernels.group_dot(
        u=u.data_ptr(),
        v=v.data_ptr(),
        groups=groups,
        n=n,
        dot=dot.data_ptr(),
        workspace=scratch.data_ptr(),
        workspace_bytes=scratch.numel(),
        threads=torch.get_num_threads(),
    )
    return dot
