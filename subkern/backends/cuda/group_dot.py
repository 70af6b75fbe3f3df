"""Inner products on CUDA: one launch, whose last blocks add up what the others found."""

from __future__ import annotations

import torch
from torch import Tensor

from subkern.backends import native
from subkern.backends.cpu.vectors import dot_refusal
from subkern.backends.cuda.device import queue
from subkern.backends.cuda.vectors import Sums, device_refusal
from subkern.backends.registry import register


def can_serve(*, u: Tensor, v: Tensor) -> str | None:
    """None, or why this call needs another backend."""
    return device_refusal(u) or dot_refusal(u, v)


@register("group_dot", "cuda", can_serve)
def group_dot(u: Tensor, v: Tensor) -> Tensor:
    """See :func:`subkern.reference.group_dot.group_dot`."""
    groups, n = u.shape
    kernels = native.module("_CUDA")
    dot = torch.empty(groups, dtype=torch.float64, device=u.device)
    scratch = Sums(kernels.group_dot_workspace(groups=groups, n=n), groups, u.device)
    kernels.group_dot(
        u=u.data_ptr(),
        v=v.data_ptr(),
        groups=groups,
        n=n,
        dot=dot.data_ptr(),
        **scratch.arguments(),
        **queue(u.device),
    )
    return dot
