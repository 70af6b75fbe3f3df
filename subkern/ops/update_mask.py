"""Swap entries of a mask by score, its count unchanged."""

from __future__ import annotations

from typing import NamedTuple

import torch
from torch import Tensor

from subkern.ops._checks import check_backend, check_tensor
from subkern.ops._interop import accepts_arrays
from subkern.ops._library import define_op
from subkern.ops.kth_largest import check_count, check_scores


class UpdatedMask(NamedTuple):
    """A mask after a swap.

    Attributes:
        mask: bool, in the shape of the old one.
        removed: (n_swap,) int64, flat indices that left, ascending.
        added: (n_swap,) int64, flat indices that entered, ascending.
    """

    mask: Tensor
    removed: Tensor
    added: Tensor


def _fake(
    score_remove: Tensor, score_add: Tensor, mask: Tensor, *, n_swap: int, backend: str
) -> tuple[Tensor, Tensor, Tensor]:
    removed, added = (mask.new_empty((n_swap,), dtype=torch.int64) for _ in range(2))
    return mask.new_empty(mask.shape), removed, added


_op = define_op(
    "update_mask",
    "(Tensor score_remove, Tensor score_add, Tensor mask, *, int n_swap, str backend) -> "
    "(Tensor new_mask, Tensor removed, Tensor added)",
    _fake,
)


@accepts_arrays
def update_mask(
    score_remove: Tensor,
    score_add: Tensor,
    mask: Tensor,
    n_swap: int,
    *,
    backend: str | None = None,
) -> UpdatedMask:
    """Let the n_swap worst entries of a mask leave and the n_swap best outside enter.

    removed = the n_swap entries of {mask} with the lowest `score_remove`,
    added = the n_swap entries of {not mask} with the highest `score_add`,
    new_mask = mask - removed + added. Among equal scores the lower index goes first, so that the
    count of the mask never changes and the result depends on nothing but the arguments. A NaN
    counts as minus infinity: it leaves first and enters last. An entry that left does not enter in
    the same call. The rule of sparse training by swaps (drop and grow).

    Args:
        score_remove: any shape, float32, bfloat16, float64 or float16; read inside the mask only.
        score_add: same shape, dtype and device; read outside the mask only.
        mask: bool, same shape and device.
        n_swap: how many leave and enter, at most what is inside and what is outside. The CPU
            raises otherwise; an accelerator reads nothing back, and the lists then hold entries of
            the other side, so that the count is not kept.
        backend: implementation to use; None picks.

    Returns:
        :class:`UpdatedMask` of the new mask and the ascending int64 flat indices that left and
        entered; no argument is written.

    Raises:
        TypeError: an argument of the wrong kind or dtype.
        ValueError: shapes or devices differ, or n_swap is more than can be swapped.
        BackendUnavailableError: no backend can serve the call, or the one asked for cannot.

    Backends: reference (any device, dtype), cpu and cuda (float32, bfloat16).

    Example:
        >>> import torch, subkern
        >>> weight = torch.tensor([0.5, 0.1, 0.0, 0.9, 0.0])
        >>> growth = torch.tensor([9.0, 9.0, 0.2, 9.0, 0.3])
        >>> mask = torch.tensor([True, True, False, True, False])
        >>> found = subkern.update_mask(weight, growth, mask, 1)
        >>> found.mask.tolist(), found.removed.tolist(), found.added.tolist()
        ([True, False, False, True, True], [1], [4])
    """
    op = "update_mask"
    check_scores(op, "score_remove", score_remove)
    check_scores(op, "score_add", score_add)
    check_tensor(op, "mask", mask)
    if score_add.dtype != score_remove.dtype:
        raise TypeError(f"{op}: score_add must be {score_remove.dtype}, got {score_add.dtype}")
    if mask.dtype != torch.bool:
        raise TypeError(f"{op}: mask must be torch.bool, got {mask.dtype}")
    for name, t in (("score_add", score_add), ("mask", mask)):
        if t.shape != score_remove.shape:
            raise ValueError(
                f"{op}: {name} must have shape {tuple(score_remove.shape)}, got {tuple(t.shape)}"
            )
        if t.device != score_remove.device:
            raise ValueError(f"{op}: {name} must be on {score_remove.device}, got {t.device}")
    n_swap = check_count(op, "n_swap", n_swap, 0, mask.numel() // 2)
    name = check_backend(op, backend)
    return UpdatedMask(
        *_op(score_remove.detach(), score_add.detach(), mask, n_swap=n_swap, backend=name)
    )
