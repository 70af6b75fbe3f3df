"""Leading singular subspaces from large products and the small factorizations of a backend.

One code for CPU, CUDA and the shards of a process group. The host reads nothing, except that
torch.linalg.eigh does so where there are more than 64 columns (exact bases of larger matrices, Ritz
values of wider bases). X is G, or its transpose for "right".
"""

from __future__ import annotations

from functools import partial
from typing import Any

import torch
from torch import Tensor

from subkern.backends.composed.matrix import Matrix, padded, product, small_op, widened
from subkern.backends.composed.support import cuda_refusal
from subkern.backends.registry import register
from subkern.reference.topk_subspace import (
    DEFICIENT,
    RELAX,
    RESOLUTION,
    below,
    finish,
    largest_magnitude,
    nothing,
    power_of_two,
    unit_columns,
)

EPS = 2.0**-23
# Share of what a product captures that is added of the last factor: above the product's rounding.
SHIFT = 2.0**-21
# The same in units of the largest entry: keeps a start that G has nothing in.
FLOOR = 2.0**-44


def exact(X: Matrix, ok: Tensor, rank: int, seed: int) -> tuple[Tensor, Tensor, Tensor]:
    """(Q, squared values, deficient) from the Gram matrix of the shorter side.

    Left vectors of a tall X are X V, orthonormalized; Gaussian columns stand in for missing ones.
    """
    A = X.X * X.scale.to(X.X.dtype)  # a Gram matrix has no thin factor to scale
    k, q = A.shape[1:]
    short = min(rank, k, q)
    C = product(A, A.mT) if k <= q else product(A.mT, A)
    squares, Q = X.eigen(C, ok, short)
    if k > q:
        Y = padded(product(A, Q), rank)
        Y += _shift(X.norms(Y, "left").sqrt()) * X.gaussian("left", rank, seed)
        Q, _, _ = X.orthonormal(Y, "left")
        squares = padded(squares[:, None], rank)[:, 0]
    return Q, squares, below(squares, RESOLUTION * EPS)


def iterate(
    X: Matrix, Q: Tensor, iters: int, seed: int, *, careful: bool, relax: bool
) -> tuple[Tensor, Tensor | None, Tensor | None]:
    """(Q, deficient, the first X^T Q) after ``iters`` times Q <- orth(X X^T Q).

    ``careful``: orthonormalized after each half, which resolves singular values down to rounding.
    Else Y = (X X^T + shift) Q: for a start close to the answer, half the work on thin factors;
    ``relax``: which is orthonormal, as :func:`relaxed` needs it.

    The shift turns no singular vector. What is below it keeps its last direction, so that columns
    stay independent whatever the rank of X, and nothing has to be repaired.
    """
    weak = first = right = None
    for _ in range(iters):
        Z = X.down(Q)
        if first is None:
            first = Z
        if careful and X.rows["right"] >= Z.shape[2]:
            if right is None:
                right = X.gaussian("right", Z.shape[2], seed + 1)
            Z = Z + _shift(X.norms(Z, "right").sqrt()) * right
            right, _, _ = X.orthonormal(Z, "right")
            Y = X.up(right)
            shift = _shift(X.norms(Y, "left").sqrt())
            Y.addcmul_(shift, Q)
        else:
            P = X.total(product(Z.mT, Z), "right")
            shift = _shift(P.diagonal(dim1=1, dim2=2).sum(1))
            Y = X.up(Z)
            if relax:
                S = relaxed(P)
                S.diagonal(dim1=1, dim2=2).sub_(shift[:, 0])
                for i in range(len(Y)):
                    Y[i].addmm_(Q[i], S[i], alpha=-1)
            else:
                Y.addcmul_(shift, Q)
        Q, R, events = X.orthonormal(Y, "left")
        weak = (R.diagonal(dim1=1, dim2=2) <= 4 * shift[:, 0]).any(1) | (events & DEFICIENT != 0)
    return Q, weak, first


def relaxed(P: Tensor) -> Tensor:
    """S of :func:`subkern.reference.topk_subspace.relaxation`, without eigenvalues."""
    b, r, _ = P.shape
    eye = torch.eye(r, dtype=torch.float64, device=P.device)
    P = P.double() + FLOOR * eye
    inverse = _inverse_root(P, eye)
    c = RELAX * r / inverse.square().sum((1, 2)).view(b, 1, 1)
    K = _inverse_root(eye + P / (8 * c), eye).float()  # at most 1: its powers need no float64
    K = product(K.mT, K)
    K = product(K, K)
    return c.float() * (eye.float() - product(K, K))


def _inverse_root(P: Tensor, eye: Tensor) -> Tensor:
    """L^-1 with L L^T = P; numbers without meaning where there is no such L."""
    L, _ = torch.linalg.cholesky_ex(P)
    return torch.linalg.solve_triangular(L, eye, upper=False)


def _shift(size: Tensor) -> Tensor:
    return (SHIFT * size + FLOOR).float()[:, None, None]


def find(
    X: Matrix,
    previous: Tensor | None,
    fallback: Tensor,
    ok: Tensor,
    finite: Tensor,
    *,
    rank: int,
    mode: str,
    iters: int,
    oversample: int,
    relax: bool,
    order: bool,
    align: str,
    energy: str,
    out_dtype: torch.dtype | None,
    seed: int,
) -> tuple[Tensor, Tensor, Tensor, Tensor, Tensor]:
    """Results of the op; ``fallback`` is the basis where not ``ok``."""
    squares = deficient = first = None
    b = len(fallback)
    if mode == "identity":
        Q = X.unit(rank)
        squares = Q.new_zeros((b, rank)) if order else None  # of matrices without entries
    elif mode == "exact":
        Q, squares, deficient = exact(X, ok, rank, seed)
    else:
        width = max(rank, min(rank + oversample, *X.rows.values()))
        kept = [] if previous is None else [previous]
        if fresh := width - rank * len(kept):
            kept.append(X.gaussian("left", fresh, seed))
        careful = previous is None or (order and not relax)
        columns = torch.cat(kept, 2) if len(kept) > 1 else kept[0]
        Q, deficient, first = iterate(X, columns, iters, seed, careful=careful, relax=relax)
        if order or width > rank:
            squares, V = X.ritz(Q, ok, rank)
            Q, deficient = product(Q, V), below(squares, (RESOLUTION * EPS) ** 2)

    whole = share = nothing(Q, torch.float64)
    if energy != "none":
        whole = X.energy()
        if energy == "start" and previous is not None:
            Z = X.down(previous) if first is None else first[:, :, :rank]
            share = X.norms(Z, "right")
        elif squares is None:
            share = X.norms(X.down(Q), "right")
        else:
            share = squares.sum(1)
    rotation = nothing(Q)
    if align == "procrustes":
        rotation = unit_columns(b, rank, rank, Q)
        if previous is not None:
            C = X.total(product(Q.mT, previous), "left")
            (rotation,) = X.agreed(lambda: [X.nearest_rotation(C, ok)], [rotation])
            Q = product(Q, rotation)
    elif align == "sign" and previous is not None:
        Q = torch.where(X.total((Q * previous).sum(1, keepdim=True), "left") < 0, -Q, Q)
    return finish(
        *(Q, fallback, ok, finite, deficient, share, whole),
        values=squares.sqrt() / X.scale[:, :, 0] if order and squares is not None else None,
        rotation=rotation,
        out_dtype=out_dtype,
    )


def topk_subspace(
    G: Tensor,
    q_prev: Tensor | None,
    *,
    side: str,
    backend: str,
    **options: Any,
) -> tuple[Tensor, Tensor, Tensor, Tensor, Tensor]:
    """See :func:`subkern.ops.topk_subspace`."""
    largest, squares, _ = small_op("scan", backend, G).unbind(1)
    largest = largest.float()
    X = Matrix(widened(G if side == "left" else G.mT), power_of_two(largest), backend, squares)
    finite = largest < float("inf")
    previous = None if q_prev is None else q_prev.float()
    if previous is not None:
        finite = finite & (largest_magnitude(previous) < float("inf"))
    fallback = X.unit(options["rank"]) if previous is None else previous
    ok = (finite & (largest > 0))[:, None, None]
    return find(X, previous, fallback, ok, finite, **options)


def can_serve(backend: str, name: str, **call: object) -> str | None:
    """None, or why a call with the matrices ``name`` needs another backend."""
    X = call[name]
    assert isinstance(X, Tensor)
    if backend == "cuda" and (reason := cuda_refusal(X)) is not None:
        return reason
    if backend == "cpu" and X.device.type != "cpu":
        return f"serves CPU tensors only, got {X.device.type}"
    if X.dtype not in (torch.float32, torch.bfloat16):
        return f"serves float32 and bfloat16, got {X.dtype}"
    return None


for _name in ("cpu", "cuda"):
    register("topk_subspace", _name, partial(can_serve, _name, "G"), composed=True)(
        partial(topk_subspace, backend=_name)
    )
