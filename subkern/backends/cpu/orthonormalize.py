"""Orthonormalization on the CPU: the C++ kernel up to 64 columns, torch's products above."""

from __future__ import annotations

import torch
from torch import Tensor

from subkern.backends import native
from subkern.backends.composed import orthonormalize as composed
from subkern.backends.cpu.tensors import CODES, empty
from subkern.backends.registry import register

COLUMNS = 64  # the most that the kernel takes
_ALIGNMENT = 64


def can_serve(*, Y: Tensor, method: str) -> str | None:
    """None, or why this call needs another backend."""
    if Y.device.type != "cpu":
        return f"serves CPU tensors only, got {Y.device.type}"
    if method != "auto":
        return f"serves method 'auto' only, got {method!r}"
    if Y.dtype not in CODES:
        return f"serves float32 and bfloat16, got {Y.dtype}"
    return native.refusal()


@register("orthonormalize", "cpu", can_serve)
def orthonormalize(Y: Tensor, *, method: str) -> tuple[Tensor, Tensor, Tensor]:
    """See :func:`subkern.ops.orthonormalize.orthonormalize`."""
    b, m, k = Y.shape
    if k > COLUMNS or m == 0:
        return composed.orthonormalize(Y)
    Q, R = empty(b, m, k), empty(b, k, k)
    info = empty(b, dtype=torch.int32).zero_()
    threads = torch.get_num_threads()
    size = native.module().orthonormalize_workspace(m=m, k=k, threads=threads)
    scratch = empty(size + _ALIGNMENT, dtype=torch.uint8)
    native.module().orthonormalize(
        Y=Y.data_ptr(),
        dtype=CODES[Y.dtype],
        count=b,
        m=m,
        k=k,
        matrix_stride=Y.stride(0),
        row_stride=Y.stride(1),
        col_stride=Y.stride(2),
        Q=Q.data_ptr(),
        R=R.data_ptr(),
        info=info.data_ptr(),
        scratch=-(-scratch.data_ptr() // _ALIGNMENT) * _ALIGNMENT,
        threads=threads,
    )
    return Q, R, info
