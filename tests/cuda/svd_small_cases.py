"""Calls of the binding ``svd_small``, and hard matrices for them."""

from __future__ import annotations

import torch

from subkern.bench.gallery import gallery

CODES = {torch.float32: 0, torch.bfloat16: 1}
SENTINEL = -77.0


def svd(kernels, A, **changes):
    """U, S, Vh, info of the binding."""
    A = A.to(kernels.device)
    batch, m, n = A.shape
    k = min(m, n)
    sizes = {"U": (batch, m, k), "S": (batch, k), "Vh": (batch, k, n)}
    out = {name: torch.full(size, SENTINEL, device=A.device) for name, size in sizes.items()}
    out["info"] = torch.full((batch,), -1, dtype=torch.int32, device=A.device)
    steps = zip(("batch_stride", "row_stride", "col_stride"), A.stride(), strict=True)
    call = dict(A=A.data_ptr(), dtype=CODES[A.dtype], batch=batch, m=m, n=n, **dict(steps))
    call |= {name: t.data_ptr() for name, t in out.items()} | kernels.queue
    kernels.module.svd_small(**call | changes)
    return list(out.values())


def hard(m, n, count=None, **options):
    """Matrices of the gallery; fewer conditions where the emulator is slow."""
    conditions = (1e2, 1e7) if max(m, n) <= 16 else (1e7,)
    g = gallery(m, n, conditions=conditions, **options)
    if count is None and max(m, n) <= 32:
        return g
    step = max(1, len(g.names) // (count or 12))
    keep = {name for i, name in enumerate(g.names) if i % step == 0} | {"graded-columns"}
    return g.pick(keep.__contains__)
