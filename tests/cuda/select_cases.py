"""Calls of the bindings ``kth_largest`` and ``update_mask``."""

from __future__ import annotations

import math

import torch

CODES = {torch.float32: 0, torch.bfloat16: 1}


def place(values, dtype, device, offset=0):
    """The values, ``offset`` elements off a boundary."""
    room = torch.empty(values.numel() + offset, dtype=dtype, device=device)
    room[offset:] = values
    return room[offset:]


def numbers(n, kind, dtype, device="cpu", offset=0):
    """Normal numbers, few different ones, or some NaN, infinite and zero."""
    generator = torch.Generator().manual_seed(n)
    x = torch.randn(n, generator=generator)
    if kind == "few":
        x = (x * 2).round() / 2
    if kind == "hard":
        for value in (math.nan, -math.nan, math.inf, -math.inf, 0.0, -0.0):
            x[torch.rand(n, generator=generator) < 0.05] = value
    return place(x, dtype, device, offset)


def kth_arguments(kernels, x, k, magnitude=False, **changes):
    """Keyword arguments, and value, above, equal and scratch, all of which must stay alive."""
    device = kernels.device
    value = torch.full((), 7.0, dtype=x.dtype, device=device)
    above, equal = (torch.full((), -7, dtype=torch.int64, device=device) for _ in range(2))
    size = kernels.module.kth_largest_workspace()
    scratch = torch.zeros(size, dtype=torch.uint8, device=device)
    call = dict(x=x.data_ptr(), dtype=CODES[x.dtype], n=x.numel(), k=k, magnitude=magnitude)
    call |= dict(value=value.data_ptr(), above=above.data_ptr(), equal=equal.data_ptr())
    call |= dict(scratch=scratch.data_ptr(), scratch_bytes=size)
    return call | kernels.queue | changes, [value, above, equal, scratch]


def kth(kernels, x, k, magnitude=False):
    """Value, above and equal."""
    call, results = kth_arguments(kernels, x, k, magnitude)
    kernels.module.kth_largest(**call)
    return results[:3]


def swap_arguments(kernels, remove, add, mask, count, **changes):
    """Keyword arguments, and mask, lists and scratch, all of which must stay alive."""
    device, n = kernels.device, mask.numel()
    updated = place(torch.full((n,), 7), torch.uint8, device, mask.storage_offset())
    removed, added = (torch.full((count,), -7, dtype=torch.int64, device=device) for _ in range(2))
    size = kernels.module.update_mask_workspace(n=n)
    scratch = torch.zeros(size, dtype=torch.uint8, device=device)
    call = dict(score_remove=remove.data_ptr(), score_add=add.data_ptr(), mask=mask.data_ptr())
    call |= dict(dtype=CODES[remove.dtype], n=n, n_swap=count, new_mask=updated.data_ptr())
    call |= dict(removed=removed.data_ptr(), added=added.data_ptr())
    call |= dict(scratch=scratch.data_ptr(), scratch_bytes=size)
    return call | kernels.queue | changes, [updated, removed, added, scratch]


def swap(kernels, remove, add, mask, count):
    """New mask as bytes, removed and added."""
    call, results = swap_arguments(kernels, remove, add, mask, count)
    kernels.module.update_mask(**call)
    return results[:3]


def problem(n, density, kind, dtype, device="cpu", offset=0):
    """Scores of both kinds and a mask."""
    remove = numbers(n, kind, dtype, device, offset)
    add = place(numbers(n + 1, kind, dtype)[1:], dtype, device, offset)
    mask = torch.rand(n, generator=torch.Generator().manual_seed(n)) < density
    return remove, add, place(mask, torch.bool, device, offset)
