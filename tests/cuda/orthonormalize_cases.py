"""Calls of the binding ``orthonormalize`` and the checks on what it returns."""

from __future__ import annotations

import torch
from torch import Tensor

CODES = {torch.float32: 0, torch.bfloat16: 1}
EPS = 2.0**-23


def run(kernels, Y: Tensor, **changes) -> list[Tensor]:
    """Q, R and info of one call."""
    b, m, k = Y.shape
    # What a caching allocator hands out: anything.
    Q, R = Y.new_full((b, m, k), -77.0, dtype=torch.float32), Y.new_full((b, k, k), -77.0)
    R, info = R.float(), torch.full((b,), -1, dtype=torch.int32, device=Y.device)
    strides = dict(zip(("matrix_stride", "row_stride", "col_stride"), Y.stride(), strict=True))
    call = dict(Y=Y.data_ptr(), dtype=CODES[Y.dtype], count=b, rows=m, cols=k, **strides)
    call |= dict(Q=Q.data_ptr(), R=R.data_ptr(), info=info.data_ptr())
    kernels.module.orthonormalize(**call | kernels.queue | changes)
    return [Q, R, info]


def check(Y: Tensor, Q: Tensor, R: Tensor, names: list[str]) -> None:
    """Bounds on orthonormality, residual and range, and the shape of R, for each matrix."""
    k = Y.shape[2]
    Y, Q, R = (t.cpu().double() for t in (Y, Q, R))
    assert torch.equal(R, R.triu())
    assert (R.diagonal(dim1=1, dim2=2) >= 0).all()
    size = torch.linalg.matrix_norm(Y).clamp_min(1e-300)
    away = torch.linalg.matrix_norm(Q.mT @ Q - torch.eye(k, dtype=Q.dtype), 2)
    residual = torch.linalg.matrix_norm(Y - Q @ R) / size
    outside = torch.linalg.matrix_norm(Y - Q @ (Q.mT @ Y)) / size
    for i, name in enumerate(names):
        assert away[i] < 8 * EPS * k**0.5, f"{name}: orthonormality {away[i]:.2e}"
        assert residual[i] < 10 * EPS * k**0.5, f"{name}: residual {residual[i]:.2e}"
        assert outside[i] < 10 * EPS * k**0.5, f"{name}: range {outside[i]:.2e}"
