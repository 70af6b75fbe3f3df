"""svd_small on CUDA: one launch, a warp or a block for each matrix."""

from __future__ import annotations

import torch
from torch import Tensor

from subkern.backends import native
from subkern.backends.cpu.tensors import CODES
from subkern.backends.cuda.device import matrix_refusal, queue
from subkern.backends.registry import register

LARGEST = 64  # the longer side of what a kernel holds


def can_serve(*, A: Tensor) -> str | None:
    """None, or why this call needs another backend."""
    if (reason := matrix_refusal(A)) is not None:
        return reason
    if max(A.shape[1:]) > LARGEST:
        return f"serves sides up to {LARGEST}, got {A.shape[1]} x {A.shape[2]}"
    return None


@register("svd_small", "cuda", can_serve)
def svd_small(A: Tensor) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    """See :func:`subkern.ops.svd_small.svd_small`."""
    batch, m, n = A.shape
    k = min(m, n)
    U, S, Vh = (
        torch.empty(shape, dtype=torch.float32, device=A.device)
        for shape in ((batch, m, k), (batch, k), (batch, k, n))
    )
    info = torch.empty(batch, dtype=torch.int32, device=A.device)
    if not k:  # nothing is launched
        info.zero_()
    native.module("_CUDA").svd_small(
        A=A.data_ptr(),
        dtype=CODES[A.dtype],
        batch=batch,
        m=m,
        n=n,
        batch_stride=A.stride(0),
        row_stride=A.stride(1),
        col_stride=A.stride(2),
        U=U.data_ptr(),
        S=S.data_ptr(),
        Vh=Vh.data_ptr(),
        info=info.data_ptr(),
        **queue(A.device),
    )
    return U, S, Vh, info
