"""Entries leave a mask and as many enter it, in plain PyTorch."""

from __future__ import annotations

import torch
from torch import Tensor


def _first(score: Tensor, among: Tensor, count: int, descending: bool) -> Tensor:
    """Ascending indices of the `count` first of `among`; of equals the lower index is first."""
    lowest = torch.where(score.isnan(), -torch.inf, score)
    order = torch.sort(lowest, stable=True, descending=descending).indices
    order = order[torch.sort((~among[order]).to(torch.uint8), stable=True).indices]
    return order[:count].sort().values


def check_swap(n_swap: int, inside: int, numel: int) -> None:
    """Raise where fewer entries are inside or outside than are to be swapped."""
    for where, most in (("inside", inside), ("outside", numel - inside)):
        if n_swap > most:
            raise ValueError(
                f"update_mask: n_swap must be at most the entries {where} the mask ({most}), "
                f"got {n_swap}"
            )


def update_mask(
    score_remove: Tensor, score_add: Tensor, mask: Tensor, *, n_swap: int
) -> tuple[Tensor, Tensor, Tensor]:
    """(new mask, removed, added); see :func:`subkern.ops.update_mask.update_mask`."""
    flat = mask.reshape(-1)
    if mask.device.type == "cpu":
        check_swap(n_swap, int(flat.sum()), flat.numel())
    removed = _first(score_remove.reshape(-1), flat, n_swap, descending=False)
    added = _first(score_add.reshape(-1), ~flat, n_swap, descending=True)
    kept = flat.index_fill(0, removed, False).index_fill(0, added, True)
    return kept.reshape(mask.shape).contiguous(), removed, added
