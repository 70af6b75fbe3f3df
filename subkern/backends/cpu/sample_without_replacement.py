"""Weighted sampling on the CPU: one native call for all rows and for what they gather."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor

from subkern.backends import native
from subkern.backends.cpu.matrices import scratch
from subkern.backends.cpu.tensors import CODES, empty
from subkern.backends.registry import register

WORD = 2**64 - 1  # the op takes 64-bit words as signed integers of the same bits


def can_serve(*, weights: Tensor, gather: Sequence[Tensor] = (), **_: object) -> str | None:
    """None, or why this call needs another backend."""
    if weights.device.type != "cpu":
        return f"serves CPU tensors only, got {weights.device.type}"
    if weights.dtype not in CODES:
        return f"serves float32 and bfloat16 weights, got {weights.dtype}"
    return native.refusal()


def rows_without_gaps(weights: Tensor) -> Tensor:
    """The same weights, each row in one piece."""
    return weights if weights.stride(1) == 1 or weights.shape[1] <= 1 else weights.contiguous()


def sources(gather: Sequence[Tensor], results: Sequence[Tensor]) -> list[tuple[int, ...]]:
    """What the kernels are told about tensors (b, n, d) and where their rows go."""
    return [
        (x.data_ptr(), x.element_size(), x.shape[2], *x.stride(), out.data_ptr())
        for x, out in zip(gather, results, strict=True)
    ]


@register("sample_without_replacement", "cpu", can_serve)
def sample_without_replacement(
    weights: Tensor, gather: list[Tensor], *, k: int, seed: int, offset: int, sorted: bool
) -> tuple[Tensor, Tensor, list[Tensor]]:
    """See :func:`subkern.ops.sample_without_replacement.sample_without_replacement`."""
    b, n = weights.shape
    weights, threads, module = rows_without_gaps(weights), torch.get_num_threads(), native.module()
    idx, info = empty(b, k, dtype=torch.int64), empty(b, dtype=torch.int32)
    results = [empty(b, k, x.shape[2], dtype=x.dtype) for x in gather]
    space = scratch(module.sample_without_replacement_workspace(n=n, k=k, threads=threads))
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
        workspace=space.data_ptr(),
        workspace_bytes=space.numel(),
        threads=threads,
    )
    return idx, info, results
