"""Polar factors from torch's products; on CUDA, symmetric ones by Triton where they are large.

One code for CPU and CUDA. Matrices are multiplied one at a time: the bits of a batched product may
depend on the batch.
"""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor

from subkern.backends import native
from subkern.backends.composed.gram import SYMMETRIC_SIDE
from subkern.backends.composed.support import cuda_refusal, full_float32, is_fake
from subkern.backends.cpu.products import SUM_SLICE
from subkern.backends.registry import register
from subkern.backends.triton import gram as symmetric
from subkern.reference.gram import mirrored
from subkern.reference.polar import RESTART, chosen_form, normalized, result_dtype
from subkern.reference.polar_table import STEPS

FLOAT64 = "serves float32 and bfloat16 matrices, got torch.float64; the reference takes them all"


def can_serve_cpu(*, X: Tensor, **_: object) -> str | None:
    """None, or why this call needs another backend."""
    if X.device.type != "cpu":
        return f"serves CPU tensors only, got {X.device.type}"
    if (reason := native.refusal()) is not None:
        return reason
    return FLOAT64 if X.dtype == torch.float64 else None


def can_serve_cuda(*, X: Tensor, **_: object) -> str | None:
    """The same for CUDA tensors."""
    return FLOAT64 if X.dtype == torch.float64 else cuda_refusal(X)


def work_dtype(X: Tensor, preset: str, form: str, dtype: torch.dtype | None) -> torch.dtype:
    """What the products are computed in, unless the caller said so."""
    if dtype is not None:
        return dtype
    if X.device.type != "cuda" or preset == "orthogonal":
        return torch.float32
    # A Gram matrix holds squares, for which bfloat16 is too coarse.
    return torch.float16 if form == "gram" else torch.bfloat16


@register("polar", "cpu", can_serve_cpu, composed=True)
@register("polar", "cuda", can_serve_cuda, composed=True)
def polar(
    X: Tensor, *, preset: str, steps: int | None, form: str, dtype: torch.dtype | None
) -> Tensor:
    """See :func:`subkern.ops.polar.polar`."""
    form = chosen_form(X, preset, form)
    work = work_dtype(X, preset, form, dtype)
    x, table = normalized(X, work), STEPS[preset][:steps]
    iterate: Callable[..., Tensor] = _gram_form if form == "gram" else _standard
    with full_float32():
        made = [iterate(one, table) for one in x.unbind(0)]
    out = (torch.stack(made) if made else x).to(result_dtype(X))
    return out.mT.contiguous() if X.shape[1] > X.shape[2] else out


def _standard(x: Tensor, table: tuple) -> Tensor:
    for step in table:
        x = _product(_polynomial(_gram(x), step), x)
    return x


def _gram_form(x: Tensor, table: tuple) -> Tensor:
    """The iteration on R = X X^T; X itself is touched twice, by the product of the steps."""
    for part in (table[:RESTART], table[RESTART:]):
        if not part:
            continue
        R, Q = _gram(x), None
        for i, step in enumerate(part):
            P = _polynomial(R, step)
            Q = P if Q is None else _product(P, Q)
            if i + 1 < len(part):
                R = _product(P, _product(R, P))
        assert Q is not None
        x = _product(Q, x)
    return x


def _triton_serves(x: Tensor) -> bool:
    """Whether a symmetric product of this size goes to Triton."""
    if x.device.type != "cuda" or x.shape[0] < SYMMETRIC_SIDE or is_fake(x):
        return False
    return symmetric.can_serve(X=x.new_empty(0, dtype=torch.float32)) is None


def _gram(x: Tensor) -> Tensor:
    """X X^T, symmetric."""
    if _triton_serves(x):
        return symmetric.symmetric_product(x.mT.unsqueeze(0), x.dtype)[0]
    if x.dtype == torch.float32 and x.device.type == "cpu":
        op = torch.ops.subkern.gram.default
        batch = x.unsqueeze(0)
        return op(batch, side="left", accumulate="fp32", out_dtype=None, backend="cpu")[0]
    return mirrored(_product(x, x.mT))


def _polynomial(R: Tensor, step: tuple[float, float, float]) -> Tensor:
    """The matrix a I + b R + c R^2, symmetric like R."""
    a, b, c = step
    if _triton_serves(R):
        one = R.unsqueeze(0)
        return symmetric.symmetric_product(one, R.dtype, alpha=c, C=one, gamma=b, delta=a)[0]
    if R.dtype == torch.float32:
        P = _gram(R).mul_(c).add_(R, alpha=b)
    else:
        P = torch.addmm(R, R, R, beta=b, alpha=c)
    P.diagonal().add_(a)
    return P


def _product(A: Tensor, B: Tensor) -> Tensor:
    """Product A B; on the CPU in slices of the sum, whose bits do not depend on the threads."""
    if A.device.type != "cpu" or A.dtype != torch.float32 or A.shape[1] <= SUM_SLICE:
        return torch.mm(A, B)
    out = A.new_empty((A.shape[0], B.shape[1]))
    for start in range(0, A.shape[1], SUM_SLICE):
        part = slice(start, start + SUM_SLICE)
        torch.addmm(out, A[:, part], B[part], beta=1.0 if start else 0.0, out=out)
    return out
