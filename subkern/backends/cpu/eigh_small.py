"""Eigen-decomposition of small symmetric matrices on the CPU: one native call per batch."""

from __future__ import annotations

import torch
from torch import Tensor

from subkern.backends import native
from subkern.backends.cpu.matrices import described, refusal, scratch
from subkern.backends.cpu.tensors import empty
from subkern.backends.registry import register


def can_serve(*, C: Tensor, **_: object) -> str | None:
    """None, or why this call needs another backend."""
    return refusal(C)


@register("eigh_small", "cpu", can_serve)
def eigh_small(C: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    """See :func:`subkern.ops.eigh_small.eigh_small`."""
    batch, n = C.shape[:2]
    threads, module = torch.get_num_threads(), native.module()
    w, V = empty(batch, n), empty(batch, n, n)
    info = empty(batch, dtype=torch.int32)
    space = scratch(module.eigh_small_workspace(n=n, threads=threads))
    module.eigh_small(
        **described("C", C),
        n=n,
        w=w.data_ptr(),
        V=V.data_ptr(),
        info=info.data_ptr(),
        workspace=space.data_ptr(),
        workspace_bytes=space.numel(),
        threads=threads,
    )
    return w, V, info
