"""From tensors to what the native kernels take, and the refusals every CPU op shares."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor

from subkern.backends import native

CODES = {torch.float32: native.FLOAT32, torch.bfloat16: native.BFLOAT16}


def empty(*shape: int, dtype: torch.dtype = torch.float32) -> Tensor:
    """New memory on the CPU, whatever the caller's default dtype and device are."""
    return torch.empty(shape, dtype=dtype, device="cpu")


def addresses(tensors: Sequence[Tensor]) -> list[int]:
    """Addresses of tensors whose memory has been checked."""
    return [t.data_ptr() for t in tensors]


def refusal(params: Sequence[Tensor], exp_avgs: Sequence[Tensor]) -> str | None:
    """Why the CPU kernels cannot serve parameters and moments like these, or None."""
    if params and params[0].device.type != "cpu":
        return f"serves CPU tensors only, got {params[0].device.type}"
    if (reason := native.refusal()) is not None:
        return reason
    if params and params[0].dtype not in CODES:
        return f"serves float32 and bfloat16 parameters, got {params[0].dtype}"
    if exp_avgs and exp_avgs[0].dtype != torch.float32:
        return f"keeps moments in float32, got {exp_avgs[0].dtype}"
    return None


def is_dense(t: Tensor) -> bool:
    """Memory without gaps: the elements are one block in some order of the dimensions."""
    expected = 1
    for stride, size in sorted(zip(t.stride(), t.shape, strict=True)):
        if size > 1:
            if stride != expected:
                return False
            expected *= size
    return True
