"""Calls of the binding ``packed_adamw``."""

from __future__ import annotations

import torch

CODES = {torch.float32: 0, torch.bfloat16: 1}
OPTIONS = dict(lr=0.1, lr_address=0, beta1=0.9, beta2=0.99, eps=1e-3, weight_decay=0.1)
WRITTEN = ("W", "exp_avg", "exp_avg_sq", "step")
READ = ("G", "indices")


def inputs(sizes, dtype=torch.float32, device="cpu", *, packed, own, wide=True, offset=0):
    """Lists of (elements, listed) each; everything starts ``offset`` elements off a boundary."""
    generator = torch.Generator().manual_seed(len(sizes))

    def place(values, stored=torch.float32):
        room = torch.empty(values.numel() + offset, dtype=stored, device=device)
        room[offset:] = values
        return room[offset:]

    lists = {name: [] for name in (*WRITTEN, *READ)}
    for n, listed in sizes:
        at = torch.randperm(n, generator=generator)[:listed]
        size = torch.rand(listed if packed else n, generator=generator) + 0.5
        sign = torch.randint(0, 2, size.shape, generator=generator) * 2 - 1
        lists["W"].append(place(torch.randn(n, generator=generator), dtype))
        lists["G"].append(place(size * sign, dtype))
        lists["indices"].append(place(at, torch.int64 if wide else torch.int32))
        lists["exp_avg"].append(place(0.1 * torch.randn(listed, generator=generator)))
        lists["exp_avg_sq"].append(place(torch.rand(listed, generator=generator)))
        count = torch.arange(listed) % 41 * 1.0 if own else torch.tensor([7.0])
        lists["step"].append(place(count) if own else count.to(device)[0])
    return lists


def arguments(kernels, lists, **changes):
    """Keyword arguments of the binding, and what must stay alive."""
    W, G, indices = lists["W"], lists["G"], lists["indices"]
    counters = torch.zeros(len(W), dtype=torch.int32, device=kernels.device)
    call = {name: [t.data_ptr() for t in ts] for name, ts in lists.items()}
    call |= dict(
        numel=[w.numel() for w in W],
        listed=[at.numel() for at in indices],
        packed=[g.shape != w.shape for w, g in zip(W, G, strict=True)],
        per_entry=[t.dim() == 1 for t in lists["step"]],
        w_dtype=CODES[W[0].dtype] if W else 0,
        wide=not W or indices[0].dtype == torch.int64,
        counters=counters.data_ptr(),
    )
    return call | OPTIONS | kernels.queue | changes, counters


def prepared(kernels, sizes=((20, 9),), **kinds):
    """A good call and the tensors it writes; those carry everything that it needs."""
    lists = inputs(sizes, device=kernels.device, **dict(packed=False, own=False) | kinds)
    call, counters = arguments(kernels, lists)
    return call, [*(t for name in (*WRITTEN, *READ) for t in lists[name]), counters]
