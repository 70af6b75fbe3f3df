"""Gram matrices on the CPU: our kernels for small sides, half of torch's product for large ones.

Sums of torch's products are cut at 512 terms, which keeps their bits independent of the number of
threads (see products.py), and matrices of a batch are multiplied one by one.
"""

from __future__ import annotations

import torch
from torch import Tensor

from subkern.backends import native
from subkern.backends.cpu.products import SUM_SLICE
from subkern.backends.cpu.tensors import CODES, empty
from subkern.backends.registry import register
from subkern.reference.gram import result_dtype

# Sides up to which our kernels are used, by the precision of the sums, and the number of panels
# that larger ones are cut into; all measured (docs/decisions.md).
SMALL_SIDE = {False: 256, True: 512}
PANELS = 4


def can_serve(*, X: Tensor, **_: object) -> str | None:
    """None, or why this call needs another backend."""
    if X.device.type != "cpu":
        return f"serves CPU tensors only, got {X.device.type}"
    if (reason := native.refusal()) is not None:
        return reason
    if X.dtype not in CODES:
        return f"serves float32 and bfloat16 matrices, got {X.dtype}; the reference takes them all"
    return None


@register("gram", "cpu", can_serve)
def gram(X: Tensor, *, side: str, accumulate: str, out_dtype: torch.dtype | None) -> Tensor:
    """See :func:`subkern.ops.gram.gram`."""
    wide = accumulate == "fp64"
    x = X if side == "right" else X.mT
    stored = result_dtype(X, accumulate, out_dtype)
    k = x.shape[2]
    wide_out = wide and stored == torch.float64
    G = X.new_empty((x.shape[0], k, k), dtype=torch.float64 if wide_out else torch.float32)
    if k <= SMALL_SIDE[wide]:
        _native(x, G, wide)
    else:
        for one, result in zip(x, G, strict=True):
            _halved(one, result, torch.float64 if wide else torch.float32)
    return G.to(stored)


def _native(x: Tensor, G: Tensor, wide: bool) -> None:
    """Set G (batch, k, k) to the Gram matrices of the columns of x (batch, depth, k)."""
    batch, depth, k = x.shape
    threads = torch.get_num_threads()
    module = native.module()
    scratch = empty(module.gram_workspace(side=k, wide=wide, threads=threads), dtype=torch.uint8)
    module.gram(
        X=x.data_ptr(),
        dtype=CODES[x.dtype],
        batch=batch,
        depth=depth,
        side=k,
        batch_stride=x.stride(0),
        depth_stride=x.stride(1),
        side_stride=x.stride(2),
        G=G.data_ptr(),
        wide=wide,
        wide_out=G.dtype == torch.float64,
        scratch=scratch.data_ptr(),
        scratch_bytes=scratch.numel(),
        threads=threads,
    )


def _halved(x: Tensor, G: Tensor, work: torch.dtype) -> None:
    """Set G to x^T x, the lower half in panels of rows, slice by slice of the sums."""
    depth, k = x.shape
    sums = G if G.dtype == work else empty(*G.shape, dtype=work)
    step = -(-k // PANELS)
    edges = [(i, min(i + step, k)) for i in range(0, k, step)]
    if not depth:
        sums.zero_()
    for start in range(0, depth, SUM_SLICE):
        part = x[start : start + SUM_SLICE].to(work)
        if work == torch.float64:  # of a transposed factor the bits do depend on the threads
            part = part.contiguous()
        for low, high in edges:
            band = sums[low:high, :high]
            torch.addmm(
                band, part[:, low:high].mT, part[:, :high], beta=1.0 if start else 0.0, out=band
            )
    for low, high in edges:
        corner = sums[low:high, low:high]
        corner.copy_(corner.tril() + corner.tril(-1).mT)
        sums[low:high, high:].copy_(sums[high:, low:high].mT)
    if sums is not G:
        G.copy_(sums)
