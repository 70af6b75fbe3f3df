"""Singular value decomposition of small matrices on the CPU: one native call per batch."""

from __future__ import annotations

import torch
from torch import Tensor

from subkern.backends import native
from subkern.backends.cpu.matrices import described, refusal, scratch
from subkern.backends.cpu.tensors import empty
from subkern.backends.registry import register


def can_serve(*, A: Tensor, **_: object) -> str | None:
    """None, or why this call needs another backend."""
    return refusal(A)


@register("svd_small", "cpu", can_serve)
def svd_small(A: Tensor) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    """See :func:`subkern.ops.svd_small.svd_small`."""
    batch, m, n = A.shape
    k, threads, module = min(m, n), torch.get_num_threads(), native.module()
    U, S, Vh = empty(batch, m, k), empty(batch, k), empty(batch, k, n)
    info = empty(batch, dtype=torch.int32)
    space = scratch(module.svd_small_workspace(m=m, n=n, threads=threads))
    module.svd_small(
        **described("A", A),
        m=m,
        n=n,
        U=U.data_ptr(),
        S=S.data_ptr(),
        Vh=Vh.data_ptr(),
        info=info.data_ptr(),
        workspace=space.data_ptr(),
        workspace_bytes=space.numel(),
        threads=threads,
    )
    return U, S, Vh, info
