"""The k-th largest element on the CPU: one native call."""

from __future__ import annotations

import torch
from torch import Tensor

from subkern.backends import native
from subkern.backends.cpu.tensors import CODES, empty, is_dense
from subkern.backends.registry import register


def can_serve(*, x: Tensor, **_: object) -> str | None:
    """None, or why this call needs another backend."""
    if x.device.type != "cpu":
        return f"serves CPU tensors only, got {x.device.type}"
    if x.dtype not in CODES:
        return f"serves float32 and bfloat16, got {x.dtype}"
    return native.refusal()


@register("kth_largest", "cpu", can_serve)
def kth_largest(x: Tensor, *, k: int, magnitude: bool) -> tuple[Tensor, Tensor, Tensor]:
    """See :func:`subkern.ops.kth_largest.kth_largest`."""
    x = x if is_dense(x) else x.contiguous()  # the order of elements does not matter
    module, threads = native.module(), torch.get_num_threads()
    value = empty(dtype=x.dtype)
    above, equal = empty(dtype=torch.int64), empty(dtype=torch.int64)
    space = empty(module.kth_largest_workspace(n=x.numel(), threads=threads), dtype=torch.uint8)
    module.kth_largest(
        x=x.data_ptr(),
        dtype=CODES[x.dtype],
        n=x.numel(),
        k=k,
        magnitude=magnitude,
        value=value.data_ptr(),
        above=above.data_ptr(),
        equal=equal.data_ptr(),
        workspace=space.data_ptr(),
        workspace_bytes=space.numel(),
        threads=threads,
    )
    return value, above, equal
