"""What the CPU ops on batches of small matrices share: refusals, scratch, strides."""

from __future__ import annotations

import torch
from torch import Tensor

from subkern.backends import native
from subkern.backends.cpu.tensors import CODES, empty


def refusal(A: Tensor) -> str | None:
    """Why the CPU kernels cannot serve a batch of matrices like this, or None."""
    if A.device.type != "cpu":
        return f"serves CPU tensors only, got {A.device.type}"
    if (reason := native.refusal()) is not None:
        return reason
    if A.dtype not in CODES:
        return f"serves float32 and bfloat16 matrices, got {A.dtype}"
    return None


def described(name: str, A: Tensor) -> dict[str, int]:
    """The arguments that say where the matrices (b, m, n) of a batch are."""
    strides = dict(zip(("matrix_stride", "row_stride", "col_stride"), A.stride(), strict=True))
    return {name: A.data_ptr(), "dtype": CODES[A.dtype], "count": A.shape[0]} | strides


def scratch(bytes_needed: int) -> Tensor:
    """A buffer for one call; the caller keeps it until the call returns."""
    return empty(bytes_needed, dtype=torch.uint8)
