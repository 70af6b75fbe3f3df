"""Step of Sparse Spectral Training on the CPU: one native call for all layers and both sides."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor

from subkern.backends import native
from subkern.backends.cpu.tensors import CODES, addresses, refusal
from subkern.backends.registry import register


def layout_refusal(*lists: Sequence[Tensor]) -> str | None:
    """Why the kernels cannot take tensors like these, or None."""
    if not all(t.is_contiguous() for tensors in lists for t in tensors):
        return "needs contiguous parameters, gradients, moments, tables and indices"
    return None


def rows_and_homes(
    params: Sequence[Tensor], tables: Sequence[Tensor], sampled: Sequence[Tensor]
) -> dict[str, list[int]]:
    """Arguments of a kernel: sizes, and the table of each parameter of rows (0 for values)."""
    homes = iter(zip(tables, sampled, strict=True))
    table, index, table_rows = [], [], []
    for p in params:
        home, rows = next(homes) if p.dim() == 2 else (None, None)
        table.append(home.data_ptr() if home is not None else 0)
        index.append(rows.data_ptr() if rows is not None else 0)
        table_rows.append(len(home) if home is not None else 0)
    return dict(
        table=table,
        sampled=index,
        rows=[len(p) if p.dim() == 2 else 1 for p in params],
        length=[p.shape[-1] for p in params],
        table_rows=table_rows,
    )


def can_serve(
    *,
    params: Sequence[Tensor],
    grads: Sequence[Tensor],
    exp_avgs: Sequence[Tensor],
    exp_avg_sqs: Sequence[Tensor],
    tables: Sequence[Tensor],
    sampled: Sequence[Tensor],
    **_: object,
) -> str | None:
    """None, or why this call needs another backend."""
    lists = (params, grads, exp_avgs, exp_avg_sqs, tables, sampled)
    return refusal(params, exp_avgs) or layout_refusal(*lists)


@register("sst_adamw", "cpu", can_serve)
def sst_adamw_(
    params: Sequence[Tensor],
    grads: Sequence[Tensor],
    exp_avgs: Sequence[Tensor],
    exp_avg_sqs: Sequence[Tensor],
    steps: Sequence[Tensor],
    skipped: Sequence[Tensor],
    tables: Sequence[Tensor],
    sampled: Sequence[Tensor],
    *,
    lr: Tensor,
    **options: float | bool,
) -> None:
    """See :func:`subkern.ops.sst_adamw.sst_adamw_`."""
    native.module().sst_adamw(
        X=addresses(params),
        G=addresses(grads),
        exp_avg=addresses(exp_avgs),
        exp_avg_sq=addresses(exp_avg_sqs),
        step=addresses(steps),
        skipped=addresses(skipped),
        **rows_and_homes(params, tables, sampled),
        dtype=CODES[params[0].dtype],
        lr=float(lr),
        threads=torch.get_num_threads(),
        **options,
    )
