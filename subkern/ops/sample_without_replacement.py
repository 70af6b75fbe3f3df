"""Weighted sampling without replacement, with the rows of other tensors that the sample names."""

from __future__ import annotations

from typing import Any, NamedTuple

import torch
from torch import Tensor

from subkern.ops._checks import check_backend, check_flag, check_tensor
from subkern.ops._info import INVALID, SAMPLING, raise_on
from subkern.ops._interop import accepts_arrays
from subkern.ops._library import define_op
from subkern.ops._matrices import DTYPES
from subkern.ops.topk_subspace import check_count

NAME = "sample_without_replacement"
MOST = 2**31 - 1  # columns and rows, which the counter of the noise numbers


class Sample(NamedTuple):
    """What :func:`sample_without_replacement` returns with ``gather`` or ``info=True``.

    Attributes:
        idx: (*batch, k) int64.
        gathered: for each tensor of ``gather`` its rows ``idx``, (*batch, k) or (*batch, k, d).
        info: (*batch,) int32; None without ``info=True``.
    """

    idx: Tensor
    gathered: tuple[Tensor, ...] = ()
    info: Tensor | None = None


def _fake(
    weights: Tensor,
    gather: list[Tensor],
    *,
    k: int,
    seed: int,
    offset: int,
    sorted: bool,
    backend: str,
) -> tuple[Tensor, Tensor, list[Tensor]]:
    b = weights.shape[0]
    return (
        weights.new_empty((b, k), dtype=torch.int64),
        weights.new_empty((b,), dtype=torch.int32),
        [x.new_empty((b, k, x.shape[2])) for x in gather],
    )


# Symbolic integers: a compiled step is not compiled anew for every offset.
_op = define_op(
    NAME,
    "(Tensor weights, Tensor[] gather, *, SymInt k, SymInt seed, SymInt offset, bool sorted, "
    "str backend) -> (Tensor idx, Tensor info, Tensor[] gathered)",
    _fake,
)


def _word(name: str, value: int) -> int:
    """A 64-bit word as the signed integer of the same bits, which is what torch's ops take."""
    check_count(NAME, name, value)
    if value >= 2**64:
        raise ValueError(f"{NAME}: {name} must be below 2^64, got {value}")
    return value - 2**64 if value >= 2**63 else value


def _check_weights(weights: Tensor, k: int) -> None:
    check_tensor(NAME, "weights", weights)
    if weights.dtype not in DTYPES:
        kinds = "float32, bfloat16 or float64"
        raise TypeError(f"{NAME}: weights must be {kinds}, got {weights.dtype}")
    if weights.dim() < 1:
        raise ValueError(f"{NAME}: weights must be rows (*batch, n), got a scalar")
    if weights.shape[-1] > MOST or weights.shape[:-1].numel() > MOST:
        shape = tuple(weights.shape)
        raise ValueError(f"{NAME}: weights must have fewer than 2^31 rows and columns, got {shape}")
    check_count(NAME, "k", k)
    if k > weights.shape[-1]:
        raise ValueError(f"{NAME}: k must be at most n = {weights.shape[-1]}, got {k}")


def _source(i: int, source: Tensor, weights: Tensor) -> Tensor:
    """A tensor to gather from as (b, n, d); without copies where its strides allow it."""
    name = f"gather[{i}]"
    check_tensor(NAME, name, source)
    if source.device != weights.device:
        raise ValueError(f"{NAME}: {name} must be on {weights.device}, got {source.device}")
    batch, n = weights.shape[:-1], weights.shape[-1]
    source = source.detach() if source.requires_grad else source
    if source.shape == weights.shape:
        return source.reshape(batch.numel(), n, 1)
    if source.dim() == weights.dim() + 1 and source.shape[:-1] == weights.shape:
        return source.reshape(batch.numel(), n, source.shape[-1])
    if source.dim() in (1, 2) and source.shape[0] == n:
        shared = source if source.dim() == 2 else source[:, None]
        return shared.expand(batch.numel(), *shared.shape)
    raise ValueError(
        f"{NAME}: {name} must have shape {(*batch, n)}, {(*batch, n, 'd')}, {(n,)} or {(n, 'd')}, "
        f"got {tuple(source.shape)}"
    )


def _is_vector(source: Tensor, weights: Tensor) -> bool:
    return source.shape == weights.shape or source.dim() == 1


@accepts_arrays
def sample_without_replacement(
    weights: Tensor,
    k: int,
    *,
    seed: int,
    offset: int = 0,
    sorted: bool = True,
    gather: tuple[Tensor, ...] | list[Tensor] = (),
    info: bool = False,
    check: bool = False,
    backend: str | None = None,
) -> Any:
    """Draw k different columns of each row, one after the other with probability ~ weight.

    The k largest keys of (the Gumbel-top-k trick, without sorting the row)::

        key = log w - log(-log u),    u in (0, 1) from Philox 4x32-10

    u is a function of (seed, offset, row, column) alone: the same sample comes from every backend,
    instruction set and thread count, unless two keys differ by less than 1e-5 (the reference takes
    its logarithms in float64; cpu and cuda agree to the last bit). ``row`` numbers the rows of the
    flattened batch, so that a row's sample depends on its place, and equal rows are drawn
    independently. Draw again with another ``offset``; the global generator is not touched.

    A zero weight is drawn only when no positive one is left, infinite weights are drawn first, and
    ties go to the lower index. Weights need not sum to one and may lie anywhere in the range of
    their dtype. Results carry no gradient. Nothing is read on the host; a CUDA graph draws the
    sample of its recorded offset again.

    Args:
        weights: (*batch, n) float32, bfloat16 or float64, not negative, any strides; n and the
            number of rows below 2^31.
        k: columns to draw, 0 <= k <= n.
        seed: whole number below 2^64.
        offset: whole number below 2^64: number the draws of one seed by it.
        sorted: columns in ascending order, else as drawn (keys falling).
        gather: tensors whose rows of the drawn columns to return too: (*batch, n) or
            (*batch, n, d), or (n,) or (n, d) shared by the batch; any dtype and strides, so the
            columns of a matrix are rows of its ``.mT``. A shape that is both counts as batched.
        info: also return what happened to each row.
        check: read that back and raise for a row with a negative weight or a NaN.
        backend: implementation to use; None picks.

    Returns:
        idx (*batch, k) int64; with ``gather`` or ``info=True`` a :class:`Sample` of idx, gathered
        and info, int32 (*batch): bit 0 a weight is negative or NaN (idx is -1 and gathered rows are
        zero), bit 1 fewer than k weights are positive (the lowest zero weights fill up).

    Raises:
        TypeError, ValueError: an argument is not as described.
        torch.linalg.LinAlgError: with ``check=True``, see there.
        BackendUnavailableError: no backend can serve the call, or the one asked for cannot.

    Backends: reference (any device, dtype), cpu and cuda (float32, bfloat16 weights).

    Example:
        >>> import torch, subkern
        >>> weights = torch.tensor([4.0, 0.0, 1.0, 1.0])
        >>> subkern.sample_without_replacement(weights, 3, seed=0).tolist()
        [0, 2, 3]
        >>> U = torch.arange(8.0).reshape(2, 4)
        >>> drawn = subkern.sample_without_replacement(weights, 3, seed=0, gather=(U.mT,))
        >>> drawn.gathered[0].mT.tolist()
        [[0.0, 2.0, 3.0], [4.0, 6.0, 7.0]]

    References:
        Kool, van Hoof, Welling: Stochastic beams and where to find them, arXiv:1903.06059.
        Salmon et al.: Parallel random numbers: as easy as 1, 2, 3, SC 2011.
    """
    for name, flag in (("sorted", sorted), ("info", info), ("check", check)):
        check_flag(NAME, name, flag)
    _check_weights(weights, k)
    if not isinstance(gather, (list, tuple)):
        raise TypeError(f"{NAME}: gather must be a tuple of tensors, got {type(gather).__name__}")
    batch, n = weights.shape[:-1], weights.shape[-1]
    idx, flags, rows = _op(
        weights.detach().reshape(batch.numel(), n),
        [_source(i, x, weights) for i, x in enumerate(gather)],
        k=k,
        seed=_word("seed", seed),
        offset=_word("offset", offset),
        sorted=sorted,
        backend=check_backend(NAME, backend),
    )
    if check:
        raise_on(NAME, flags, INVALID, SAMPLING, "row")
    idx = idx.reshape(*batch, k)
    if not gather and not info:
        return idx
    shapes = [(k,) if _is_vector(x, weights) else (k, x.shape[-1]) for x in gather]
    gathered = tuple(x.reshape(*batch, *s) for x, s in zip(rows, shapes, strict=True))
    return Sample(idx, gathered, flags.reshape(batch) if info else None)
