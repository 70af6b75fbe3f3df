"""Mask updates on CUDA: thresholds of both sides together, then the swap; nothing is read back."""

from __future__ import annotations

import torch
from torch import Tensor

from subkern.backends import native
from subkern.backends.cpu.tensors import CODES
from subkern.backends.cuda.device import matrix_refusal, queue
from subkern.backends.registry import register


def can_serve(*, score_remove: Tensor, **_: object) -> str | None:
    """None, or why this call needs another backend."""
    return matrix_refusal(score_remove)


@register("update_mask", "cuda", can_serve)
def update_mask(
    score_remove: Tensor, score_add: Tensor, mask: Tensor, *, n_swap: int
) -> tuple[Tensor, Tensor, Tensor]:
    """See :func:`subkern.ops.update_mask.update_mask`."""
    score_remove, score_add = score_remove.contiguous(), score_add.contiguous()
    mask, n, device = mask.contiguous(), mask.numel(), mask.device
    module, updated = native.module("_CUDA"), torch.empty_like(mask)
    removed, added = (torch.empty(n_swap, dtype=torch.int64, device=device) for _ in range(2))
    if n_swap == 0:
        return updated.copy_(mask), removed, added
    needed = module.update_mask_workspace(n=n)
    scratch = torch.zeros(needed, dtype=torch.uint8, device=device)
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
        scratch=scratch.data_ptr(),
        scratch_bytes=needed,
        **queue(device),
    )
    return updated, removed, added
