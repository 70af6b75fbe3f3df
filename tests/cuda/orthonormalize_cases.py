"""Calls of the bindings of orthonormalize, and matrices for them."""

from __future__ import annotations

import torch
from sktest.linalg import as_gallery, check_qr
from torch import Tensor

CODES = {torch.float32: 0, torch.bfloat16: 1}
NAMES = ("random", "graded", "dependent", "zero", "low rank")


def matrices(m: int, k: int, names=NAMES, seed: int = 0) -> Tensor:
    """One matrix of each name."""
    generator = torch.Generator().manual_seed(seed)
    random = torch.randn(m, k, generator=generator)
    made = {"random": random, "zero": torch.zeros(m, k)}
    made["graded"] = random * 10.0 ** -torch.linspace(0, 8, k)
    made["dependent"] = random.clone()
    made["dependent"][:, -1] = random[:, 0]
    few = (k + 2) // 3
    made["low rank"] = random[:, :few] @ torch.randn(few, k, generator=generator)
    made["not finite"] = random.clone()
    made["not finite"][m - 1, k // 2] = torch.inf
    return torch.stack([made[name] for name in names])


def describe(Y: Tensor) -> dict[str, int]:
    """A batch as the bindings take it."""
    strides = dict(zip(("matrix_stride", "row_stride", "col_stride"), Y.stride(), strict=True))
    b, m, k = Y.shape
    return dict(Y=Y.data_ptr(), dtype=CODES[Y.dtype], count=b, rows=m, cols=k, **strides)


def run(kernels, Y: Tensor) -> list[Tensor]:
    """Q, R and info of one call."""
    b, m, k = Y.shape
    # What a caching allocator hands out: anything.
    Q = torch.full((b, m, k), -77.0, device=Y.device)
    R = torch.full((b, k, k), -77.0, device=Y.device)
    info = torch.full((b,), -1, dtype=torch.int32, device=Y.device)
    scratch_bytes = kernels.module.orthonormalize_workspace(count=b, rows=m, cols=k, device=0)
    scratch = torch.full((scratch_bytes // 4 + 1,), -1, dtype=torch.int32, device=Y.device)
    call = dict(Q=Q.data_ptr(), R=R.data_ptr(), info=info.data_ptr(), scratch=scratch.data_ptr())
    kernels.module.orthonormalize(
        **describe(Y), **call, scratch_bytes=scratch_bytes, **kernels.queue
    )
    return [Q, R, info]


def check(Y: Tensor, Q: Tensor, R: Tensor) -> None:
    """The contract of orthonormalize for each matrix."""
    check_qr(as_gallery(Y.cpu()), Q.cpu(), R.cpu())
