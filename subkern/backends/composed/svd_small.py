"""Singular values and vectors of tall matrices: of their triangular factor, and a product."""

from __future__ import annotations

import torch
from torch import Tensor

from subkern.backends.composed.orthonormalize import full_float32


def svd_small(A: Tensor, *, backend: str) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    """(U, S, Vh, info) of float32 or bfloat16 A (b, m, n), as the op ``svd_small`` returns them.

    A = Q R, R = U_R diag(S) Vh, U = Q U_R; the transpose where m < n. No value is read back, and
    what is not finite stays NaN on the way.

    Args:
        A: any strides and device; 1 <= min(m, n) <= 64 < max(m, n).
        backend: of the inner ops; its svd_small gets square matrices.
    """
    wide = A.shape[1] < A.shape[2]
    largest = torch.linalg.vector_norm(A, torch.inf, dim=(1, 2), dtype=torch.float32)
    # The factor is float32 too: without this it would lose digits near the ends of the range.
    exponent = torch.frexp(largest.nan_to_num(0.0, 0.0)).exponent.clamp(-126, 126)
    one = torch.ones_like(largest)
    X = A * torch.ldexp(one, -exponent).view(-1, 1, 1)
    Q, R, _ = torch.ops.subkern.orthonormalize.default(
        X.mT if wide else X, method="auto", backend=backend
    )
    U, S, Vh, info = torch.ops.subkern.svd_small.default(R, backend=backend)
    with full_float32(A.device):
        if wide:
            U, Vh = Vh.mT.clone(memory_format=torch.contiguous_format), torch.bmm(U.mT, Q.mT)
        else:
            U = torch.bmm(Q, U)
    # The signs that came are right for the factor's vectors.
    entry = U.gather(1, U.abs().argmax(1, keepdim=True))
    sign = torch.where(entry < 0, -torch.ones_like(entry), torch.ones_like(entry))
    return U * sign, S * torch.ldexp(one, exponent).view(-1, 1), Vh * sign.mT, info
