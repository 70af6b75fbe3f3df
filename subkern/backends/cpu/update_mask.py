"""Mask updates on the CPU: one native call."""

from __future__ import annotations

import torch
from torch import Tensor

from subkern.backends import native
from subkern.backends.cpu import kth_largest
from subkern.backends.cpu.tensors import CODES, empty
from subkern.backends.registry import register


def can_serve(*, score_remove: Tensor, **_: object) -> str | None:
    """None, or why this call needs another backend."""
    return kth_largest.can_serve(x=score_remove)


@register("update_mask", "cpu", can_serve)
def update_mask(
    score_remove: Tensor, score_add: Tensor, mask: Tensor, *, n_swap: int
) -> tuple[Tensor, Tensor, Tensor]:
    """See :func:`subkern.ops.update_mask.update_mask`."""
    score_remove, score_add = score_remove.contiguous(), score_add.contiguous()
    mask = mask.contiguous()
    module, threads, n = native.module(), torch.get_num_threads(), mask.numel()
    updated = empty(*mask.shape, dtype=torch.bool)
    removed, added = (empty(n_swap, dtype=torch.int64) for _ in range(2))
    space = empty(module.update_mask_workspace(n=n, threads=threads), dtype=torch.uint8)
    module.update_mask(
        score_remove=score_remove.data_ptr(),
        score_add=score_add.data_ptr(),
        dtype=CODES[score_remove.dtype],
        mask=mask.data_ptr(),
        n=n,
        n_swap=n_swap,
        new_mask=updated.data_ptr(),
        removed=removed.data_ptr(),
        added=added.data_ptr(),
        workspace=space.data_ptr(),
        workspace_bytes=space.numel(),
        threads=threads,
    )
    return updated, removed, added
