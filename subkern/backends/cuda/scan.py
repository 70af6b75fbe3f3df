"""The scan on CUDA: one launch, whose last block adds up what the others found."""

from __future__ import annotations

import torch
from torch import Tensor

from subkern.backends import native
from subkern.backends.cpu.scan import dense_refusal
from subkern.backends.cpu.tensors import CODES
from subkern.backends.cuda import orthonormalize
from subkern.backends.cuda.device import queue
from subkern.backends.registry import register


def can_serve(*, X: Tensor) -> str | None:
    """None, or why this call needs another backend."""
    return orthonormalize.refusal(X) or dense_refusal(X)


@register("scan", "cuda", can_serve)
def scan(X: Tensor) -> Tensor:
    """See :func:`subkern.reference.scan.scan`."""
    b, m, n = X.shape
    kernels = native.module("_CUDA")
    results = torch.empty((b, 3), dtype=torch.float64, device=X.device)
    scratch_bytes = kernels.scan_workspace(count=b, n=m * n)
    scratch = torch.empty(scratch_bytes, dtype=torch.uint8, device=X.device)
    counters = torch.zeros(b, dtype=torch.int32, device=X.device)
    kernels.scan(
        X=X.data_ptr(),
        dtype=CODES[X.dtype],
        count=b,
        n=m * n,
        matrix_stride=X.stride(0),
        results=results.data_ptr(),
        scratch=scratch.data_ptr(),
        scratch_bytes=scratch_bytes,
        counters=counters.data_ptr(),
        **queue(X.device),
    )
    return results
