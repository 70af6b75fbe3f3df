"""QR factors of a tall matrix whose rows are spread over the ranks of a process group."""

from __future__ import annotations

from functools import partial
from typing import Any

import torch
from torch import Tensor

from subkern.ops._checks import check_backend, check_choice, check_flag
from subkern.ops._info import DEFICIENT, FALLBACK, NONFINITE, raise_on
from subkern.ops._interop import accepts_arrays
from subkern.ops._matrices import check_matrices, factor_dtype
from subkern.ops._ranks import Ranks
from subkern.ops.orthonormalize import orthonormalize
from subkern.reference.orthonormalize import THIRD_PASS, pivot_threshold
from subkern.reference.topk_subspace import largest_magnitude, power_of_two

OP = "tsqr"
METHODS = ("cholesky", "tree")
PASSES = 3


@accepts_arrays
def tsqr(
    Y_local: Tensor,
    group: Any = None,
    *,
    method: str = "cholesky",
    info: bool = False,
    check: bool = False,
    backend: str | None = None,
) -> tuple[Tensor, ...]:
    """Factor Y = Q R, Y the rows of all ranks on top of each other, Q^T Q = I, diag(R) >= 0.

    "cholesky" is CholeskyQR with Gram matrices in float64, twice or three times: one all-reduce of
    8 k^2 bytes a pass; the first rank factors and sends the factor, so that all ranks hold the same
    bits of R. Where Y is rank deficient, or its condition above about 1e6, all ranks turn to
    "tree": each orthonormalizes its rows, the triangular factors are gathered and factored on the
    first rank. Shards may differ in length and be empty. Every rank of the group takes part; the
    host waits for a few numbers of each pass. Results carry no gradient.

    Args:
        Y_local: (rows here, k) float32, bfloat16 or float64; at least k rows on all ranks together.
            float64 always takes the tree.
        group: process group; None for this process alone.
        method: ``"cholesky"`` or ``"tree"``.
        info: also return what happened.
        check: read that back and raise where Y is not finite.
        backend: implementation of the inner orthonormalization; None picks.

    Returns:
        Q_local (rows here, k) and R (k, k), float32 (float64 for float64); with ``info=True`` then
        a 0-dim int32: bit 0 Y is not finite (NaN results), bit 1 rank deficient (filled up), bit 3
        the tree was taken instead.

    Raises:
        TypeError: an argument of the wrong kind or dtype.
        ValueError: no matrix, fewer rows than columns in all, or shards of different widths.
        torch.linalg.LinAlgError: ``check`` is set and Y is not finite.

    Backends: whatever orthonormalize has.

    Example:
        >>> import torch
        >>> Q, R = tsqr(torch.tensor([[3.0], [4.0]]))
        >>> Q.flatten().tolist(), R.tolist()
        ([0.6000000238418579, 0.800000011920929], [[5.0]])
    """
    Y = check_matrices(OP, "Y_local", Y_local)
    if Y.dim() != 2:
        raise ValueError(f"{OP}: Y_local must be a matrix, got shape {tuple(Y.shape)}")
    check_choice(OP, "method", method, METHODS)
    check_backend(OP, backend)
    check_flag(OP, "info", info)
    check_flag(OP, "check", check)
    ranks = Ranks(OP, group)
    with torch.no_grad():
        Q, R, events = factored(ranks, Y.to(factor_dtype(Y)), method, backend)
    if check:
        raise_on(OP, events)
    return (Q, R, events) if info else (Q, R)


def factored(
    ranks: Ranks, Y: Tensor, method: str, backend: str | None
) -> tuple[Tensor, Tensor, Tensor]:
    """(Q_local, R, info) of a float32 or float64 shard."""
    k = Y.shape[1]
    rows, largest = ranks.facts(OP, Y, largest_magnitude(Y[None])[0])
    if sum(rows) < k:
        raise ValueError(f"{OP}: Y must have no more columns than rows, got {sum(rows)} x {k}")
    info = Y.new_zeros((), dtype=torch.int32)
    if not largest < float("inf"):
        nan = float("nan")
        return torch.full_like(Y, nan), Y.new_full((k, k), nan), info + NONFINITE
    scale = power_of_two(torch.tensor([largest], dtype=Y.dtype, device=Y.device))[0]
    X = Y * scale
    if method == "cholesky" and Y.dtype == torch.float32:
        if (found := _cholesky(ranks, X, sum(rows))) is not None:
            Q, R = found
            return Q, (R / scale).to(Y.dtype), info
        info = info + FALLBACK
    Q, R, events = _tree(ranks, X, rows, backend)
    return Q, (R.double() / scale).to(Y.dtype), info | events


def _cholesky(ranks: Ranks, X: Tensor, rows: int) -> tuple[Tensor, Tensor] | None:
    """(Q_local, R in float64), or None where a pivot is lost in rounding: then on every rank."""
    k = X.shape[1]
    eye = torch.eye(k, dtype=torch.float64, device=X.device)
    Q, total = X, eye
    for _ in range(PASSES):
        wide = Q.double()
        gram = ranks.sum(wide.T @ wide)
        step, total, state = ranks.once(
            partial(_factor, gram, total, pivot_threshold(rows)),
            [eye, eye, eye.new_empty(2)],
        )
        failed, off = state.tolist()
        if failed:
            return None
        Q = (wide @ torch.linalg.solve_triangular(step, eye, upper=True)).to(X.dtype)
        if off <= THIRD_PASS:
            break
    return Q, total


def _factor(gram: Tensor, total: Tensor, threshold: float) -> list[Tensor]:
    """R with R^T R = gram, R times the factors so far, (whether a pivot fails, gram's |G - I|)."""
    L, broken = torch.linalg.cholesky_ex(gram)
    pivots = L.diagonal().square()
    failed = (pivots <= threshold * gram.diagonal()).any() | (broken > 0)
    eye = torch.eye(len(gram), dtype=gram.dtype, device=gram.device)
    off = (gram - eye).abs().sum(0).amax() if len(gram) else gram.new_zeros(())
    return [L.T.contiguous(), L.T @ total, torch.stack([failed.to(gram.dtype), off])]


def _tree(
    ranks: Ranks, X: Tensor, rows: list[int], backend: str | None
) -> tuple[Tensor, Tensor, Tensor]:
    """(Q_local, R, info) from the triangular factors of all shards on top of each other.

    A shard shorter than it is wide goes into that stack as it is.
    """
    k, mine = X.shape[1], X.shape[0]
    Q, R = (X, X) if mine < k else orthonormalize(X, return_r=True, backend=backend)
    kept = [min(m, k) for m in rows]
    padded = torch.nn.functional.pad(R, (0, 0, 0, k - R.shape[0]))
    stack = torch.cat([part[:m] for part, m in zip(ranks.gather(padded), kept, strict=True)])

    top, R, events = ranks.once(
        lambda: list(orthonormalize(stack, return_r=True, info=True, backend=backend)),
        [stack, X.new_empty((k, k)), X.new_empty((), dtype=torch.int32)],
    )
    first = sum(kept[: ranks.rank])
    top = top[first : first + kept[ranks.rank]]
    return top if mine < k else Q @ top, R, events & DEFICIENT
