"""Checks and reshaping shared by the ops on batches of small matrices."""

from __future__ import annotations

import torch
from torch import Tensor

from subkern.ops._checks import check_tensor

LARGEST = 64  # the small side of svd_small and eigh_small
DTYPES = (torch.float32, torch.bfloat16, torch.float64)


def check_matrices(op: str, name: str, value: object) -> Tensor:
    """A plain strided tensor (*batch, m, n) of DTYPES, detached."""
    check_tensor(op, name, value)
    assert isinstance(value, Tensor)
    if value.dtype not in DTYPES:
        raise TypeError(f"{op}: {name} must be float32, bfloat16 or float64, got {value.dtype}")
    if value.dim() < 2:
        raise ValueError(
            f"{op}: {name} must be matrices (*batch, m, n), got shape {tuple(value.shape)}"
        )
    return value.detach() if value.requires_grad else value


def check_small(op: str, name: str, A: Tensor) -> None:
    """The small side fits the small solvers."""
    if min(A.shape[-2:]) > LARGEST:
        raise ValueError(
            f"{op}: {name} must have a side of at most {LARGEST}, got {A.shape[-2]} x {A.shape[-1]}"
        )


def as_batch(A: Tensor) -> Tensor:
    """(*batch, m, n) as (b, m, n); views stay views where their strides allow it."""
    # After a kernel has filled the caches each call into torch takes ten microseconds.
    return A if A.dim() == 3 else A.reshape(A.shape[:-2].numel(), *A.shape[-2:])


def as_given(result: Tensor, batch: torch.Size) -> Tensor:
    """(b, ...) as (*batch, ...)."""
    return result if len(batch) == 1 else result.reshape((*batch, *result.shape[1:]))


def factor_dtype(A: Tensor) -> torch.dtype:
    """float64 for float64, else float32: rounding a basis to bfloat16 costs its orthonormality."""
    return torch.float64 if A.dtype == torch.float64 else torch.float32
