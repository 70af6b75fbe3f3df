"""Weighted sampling on CUDA: one launch, gather included."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor

from subkern.backends import native
from subkern.backends.cpu.sample_without_replacement import WORD, rows_without_gaps, sources
from subkern.backends.cpu.tensors import CODES
from subkern.backends.cuda.device import matrix_refusal, queue
from subkern.backends.registry import register

MOST_GATHERED = 16  # tensors: their addresses are arguments of the launch


def can_serve(*, weights: Tensor, gather: Sequence[Tensor] = (), **_: object) -> str | None:
    """None, or why this call needs another backend."""
    if len(gather) > MOST_GATHERED:
        return f"gathers from at most {MOST_GATHERED} tensors, got {len(gather)}"
    return matrix_refusal(weights)


@register("sample_without_replacement", "cuda", can_serve)
def sample_without_replacement(
    weights: Tensor, gather: list[Tensor], *, k: int, seed: int, offset: int, sorted: bool
) -> tuple[Tensor, Tensor, list[Tensor]]:
    """See :func:`subkern.ops.sample_without_replacement.sample_without_replacement`."""
    (b, n), device = weights.shape, weights.device
    weights, module = rows_without_gaps(weights), native.module("_CUDA")
    idx = torch.empty((b, k), dtype=torch.int64, device=device)
    info = torch.empty(b, dtype=torch.int32, device=device)
    results = [torch.empty((b, k, x.shape[2]), dtype=x.dtype, device=device) for x in gather]
    needed = module.sample_without_replacement_workspace(count=b, n=n, k=k, sorted=sorted)
    scratch = torch.empty(needed, dtype=torch.uint8, device=device)
    module.sample_without_replacement(
        weights=weights.data_ptr(),
        dtype=CODES[weights.dtype],
        count=b,
        n=n,
        k=k,
        row_stride=weights.stride(0),
        seed=seed & WORD,
        offset=offset & WORD,
        sorted=sorted,
        idx=idx.data_ptr(),
        info=info.data_ptr(),
        sources=sources(gather, results),
        scratch=scratch.data_ptr(),
        scratch_bytes=needed,
        **queue(device),
    )
    return idx, info, results
