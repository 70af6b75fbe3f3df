"""Calls of the binding ``sst_adamw``."""

from __future__ import annotations

import torch

CODES = {torch.float32: 0, torch.bfloat16: 1}
OPTIONS = dict(
    **dict(lr=0.02, lr_address=0, value_scale=10.0, vector_scale=4.0, beta1=0.9, beta2=0.99),
    **dict(eps=1e-3, weight_decay=0.1, warmup=3, skip_nonfinite=True),
)
WRITTEN = ("X", "exp_avg", "exp_avg_sq", "step", "skipped", "table")


def inputs(counts, length, dtype=torch.float32, device="cpu", offset=0, seed=0):
    """Per count that many values, then rows of a table; ``offset`` elements off a boundary."""
    generator = torch.Generator().manual_seed(seed)

    def place(values, stored=torch.float32):
        room = torch.empty(values.numel() + offset, dtype=stored, device=device)
        room[offset:] = values.reshape(-1)
        return room[offset:].view(values.shape)

    lists = {name: [] for name in (*WRITTEN, "G", "sampled")}
    for count in counts:
        k = count + 3
        rows = torch.randperm(k, generator=generator)[:count]
        table = torch.nn.functional.normalize(torch.randn(k, length, generator=generator), dim=1)
        lists["table"] += [None, place(table, dtype)]
        lists["sampled"] += [None, rows.to(device)]
        for x in (torch.rand(k, generator=generator), table[rows]):
            size = torch.rand(x.shape, generator=generator) + 0.5
            sign = torch.randint(0, 2, x.shape, generator=generator) * 2 - 1
            lists["X"].append(place(x, dtype))
            lists["G"].append(place(size * sign, dtype))
            lists["exp_avg"].append(place(0.1 * torch.randn(x.shape, generator=generator)))
            lists["exp_avg_sq"].append(place(torch.rand(x.shape, generator=generator)))
            lists["step"].append(torch.tensor(float(count), device=device))
            lists["skipped"].append(torch.zeros((), device=device))
    return lists


def arguments(kernels, lists, **changes):
    """Keyword arguments of the binding, and what must stay alive."""
    X = lists["X"]
    call = {n: [0 if t is None else t.data_ptr() for t in ts] for n, ts in lists.items()}
    counters = torch.zeros(len(X), dtype=torch.int32, device=kernels.device)
    call |= dict(
        rows=[len(x) if x.dim() == 2 else 1 for x in X],
        length=[x.shape[-1] for x in X],
        table_rows=[0 if t is None else len(t) for t in lists["table"]],
        dtype=CODES[X[0].dtype] if X else 0,
        counters=counters.data_ptr(),
    )
    return call | OPTIONS | kernels.queue | changes, counters


def prepared(kernels, counts, length):
    """A good call and the tensors it writes; those carry everything that it needs."""
    lists = inputs(counts, length, device=kernels.device)
    call, counters = arguments(kernels, lists)
    kept = [t for name in (*WRITTEN, "G", "sampled") for t in lists[name] if t is not None]
    return call, [*kept, counters]
