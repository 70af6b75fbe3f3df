"""svd_small on CUDA: one launch, a warp or a block to a matrix; composed where none holds it."""

from __future__ import annotations

import torch
from torch import Tensor

from subkern.backends import native
from subkern.backends.composed import svd_small as composed
from subkern.backends.cpu.tensors import CODES
from subkern.backends.cuda.device import matrix_refusal, queue
from subkern.backends.registry import register

LARGEST = 64  # a longer side asks what a block of the device holds


def can_serve(*, A: Tensor) -> str | None:
    """None, or why this call needs another backend."""
    return matrix_refusal(A)


@register("svd_small", "cuda", can_serve)
def svd_small(A: Tensor) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    """See :func:`subkern.ops.svd_small.svd_small`."""
    batch, m, n = A.shape
    k = min(m, n)
    kernels, where = native.module("_CUDA"), queue(A.device)
    if k and max(m, n) > LARGEST and not kernels.svd_small_fits(m=m, n=n, device=where["device"]):
        return composed.svd_small(A, backend="cuda")
    U, S, Vh = (
        torch.empty(shape, dtype=torch.float32, device=A.device)
        for shape in ((batch, m, k), (batch, k), (batch, k, n))
    )
    info = torch.empty(batch, dtype=torch.int32, device=A.device)
    if not k:  # nothing is launched
        info.zero_()
    kernels.svd_small(
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
        **where,
    )
    return U, S, Vh, info
