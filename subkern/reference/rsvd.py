"""Randomized singular value decomposition through the leading subspace, in plain PyTorch."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial

import torch
from torch import Tensor

from subkern.reference.orthonormalize import orthonormalize
from subkern.reference.topk_subspace import (
    NONFINITE,
    largest_magnitude,
    power_of_two,
    products,
    topk_subspace,
)


def factors(
    A: Tensor,
    q0: Tensor | None,
    subspace: Callable[..., tuple[Tensor, ...]],
    orthonormal: Callable[..., tuple[Tensor, ...]],
    product: Callable[[Tensor, Tensor], Tensor],
    *,
    rank: int,
    oversample: int,
    iters: int,
    seed: int,
) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    """(U, S, Vh, info): Q and S of the shorter side, the other side is Q^T A, orthonormalized.

    Columns of A^T Q are orthogonal but for rounding. Divided by S they would lose that as S falls.

    ``subspace`` and ``orthonormal`` are the ops topk_subspace and orthonormalize of a backend,
    ``product`` multiplies A by float32 factors.
    """
    tall = A.shape[1] > A.shape[2]
    X = A.mT if tall else A
    Q, _, info, S, _ = subspace(
        X,
        q0,
        rank=rank,
        side="left",
        mode="iterate" if X.numel() and rank else "identity",
        iters=iters,
        oversample=oversample,
        relax=False,
        order=True,
        align="none",
        energy="none",
        out_dtype=None,
        seed=seed,
    )
    finite = (info & NONFINITE == 0)[:, None, None]
    scale = power_of_two(largest_magnitude(X).to(Q.dtype))
    W = torch.where(finite, product(X.mT, Q * scale), 0.0)
    P = orthonormal(W, method="auto")[0]
    U, V = (P, Q) if tall else (Q, P)
    nan = float("nan")
    if U.numel():
        flip = U.gather(1, U.abs().argmax(1, keepdim=True)) < 0
        U, V = torch.where(flip, -U, U), torch.where(flip, -V, V)
    return torch.where(finite, U, nan), S, torch.where(finite, V, nan).mT.contiguous(), info


def rsvd(
    A: Tensor, q0: Tensor | None, *, rank: int, oversample: int, iters: int, seed: int
) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    """(U, S, Vh, info); see :func:`subkern.ops.rsvd`."""
    A = A.to(torch.float64 if A.dtype == torch.float64 else torch.float32)
    run = partial(factors, A, q0, topk_subspace, orthonormalize, products)
    return run(rank=rank, oversample=oversample, iters=iters, seed=seed)
