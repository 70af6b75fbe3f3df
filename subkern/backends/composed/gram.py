"""Gram matrices on CUDA: torch's product, or the symmetric Triton kernel for large sides."""

from __future__ import annotations

import torch
from torch import Tensor

from subkern.backends.composed.support import cuda_refusal, full_float32, is_fake
from subkern.backends.registry import register
from subkern.backends.triton import gram as symmetric
from subkern.reference.gram import mirrored, result_dtype

# From here on half of the tiles outweigh the better kernel of the vendor's library (predicted).
SYMMETRIC_SIDE = 2048


def can_serve(*, X: Tensor, **_: object) -> str | None:
    """None, or why this call needs another backend."""
    if X.dtype == torch.float64:
        return "serves float32 and bfloat16 matrices, got torch.float64; the reference takes them"
    return cuda_refusal(X)


@register("gram", "cuda", can_serve, composed=True)
def gram(X: Tensor, *, side: str, accumulate: str, out_dtype: torch.dtype | None) -> Tensor:
    """See :func:`subkern.ops.gram.gram`."""
    x = X if side == "right" else X.mT
    k, device = x.shape[2], X.device.type
    fits = k >= SYMMETRIC_SIDE or x.shape[0] > 1
    real = device == "cuda" and not is_fake(X)
    if real and fits and symmetric.can_serve(X=X, accumulate=accumulate) is None:
        return symmetric.gram(X, side=side, accumulate=accumulate, out_dtype=out_dtype)
    work = torch.float64 if accumulate == "fp64" else torch.float32
    with full_float32():  # one by one: a batched product's bits may depend on the batch
        made = [_product(one, work) for one in x.unbind(0)]
    G = torch.stack(made) if made else X.new_empty((0, k, k), dtype=work)
    return mirrored(G).to(result_dtype(X, accumulate, out_dtype))


def _product(x: Tensor, work: torch.dtype) -> Tensor:
    if x.dtype == torch.bfloat16 and work == torch.float32 and x.device.type == "cuda":
        return torch.mm(x.mT, x, out_dtype=work)
    wide = x.to(work)
    return torch.mm(wide.mT, wide)
