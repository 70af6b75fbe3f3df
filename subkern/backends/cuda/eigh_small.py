"""eigh_small on CUDA: one launch, a warp or a block for each matrix."""

from __future__ import annotations

import torch
from torch import Tensor

from subkern.backends import native
from subkern.backends.cpu.tensors import CODES
from subkern.backends.cuda.device import matrix_refusal, queue
from subkern.backends.registry import register


def can_serve(*, C: Tensor) -> str | None:
    """None, or why this call needs another backend."""
    return matrix_refusal(C)


@register("eigh_small", "cuda", can_serve)
def eigh_small(C: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    """See :func:`subkern.ops.eigh_small.eigh_small`."""
    batch, n, _ = C.shape
    w = torch.empty((batch, n), dtype=torch.float32, device=C.device)
    V = torch.empty((batch, n, n), dtype=torch.float32, device=C.device)
    info = torch.empty(batch, dtype=torch.int32, device=C.device)
    if not n:  # nothing is launched
        info.zero_()
    native.module("_CUDA").eigh_small(
        C=C.data_ptr(),
        dtype=CODES[C.dtype],
        batch=batch,
        n=n,
        batch_stride=C.stride(0),
        row_stride=C.stride(1),
        col_stride=C.stride(2),
        w=w.data_ptr(),
        V=V.data_ptr(),
        info=info.data_ptr(),
        **queue(C.device),
    )
    return w, V, info
