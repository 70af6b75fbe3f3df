"""The k-th largest element on CUDA: a launch for each digit of its key, nothing read back."""

from __future__ import annotations

import torch
from torch import Tensor

from subkern.backends import native
from subkern.backends.cpu.tensors import CODES, is_dense
from subkern.backends.cuda.device import matrix_refusal, queue
from subkern.backends.registry import register


def can_serve(*, x: Tensor, **_: object) -> str | None:
    """None, or why this call needs another backend."""
    return matrix_refusal(x)


@register("kth_largest", "cuda", can_serve)
def kth_largest(x: Tensor, *, k: int, magnitude: bool) -> tuple[Tensor, Tensor, Tensor]:
    """See :func:`subkern.ops.kth_largest.kth_largest`."""
    x = x if is_dense(x) else x.contiguous()  # the order of elements does not matter
    module, device = native.module("_CUDA"), x.device
    value = torch.empty((), dtype=x.dtype, device=device)
    above, equal = (torch.empty((), dtype=torch.int64, device=device) for _ in range(2))
    scratch = torch.zeros(module.kth_largest_workspace(), dtype=torch.uint8, device=device)
    module.kth_largest(
        x=x.data_ptr(),
        dtype=CODES[x.dtype],
        n=x.numel(),
        k=k,
        magnitude=magnitude,
        value=value.data_ptr(),
        above=above.data_ptr(),
        equal=equal.data_ptr(),
        scratch=scratch.data_ptr(),
        scratch_bytes=scratch.numel(),
        **queue(device),
    )
    return value, above, equal
