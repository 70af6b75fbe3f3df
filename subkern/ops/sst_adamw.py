"""Step of Sparse Spectral Training: all layers' singular values and sampled vectors in one call."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor

from subkern.ops._checks import (
    check_backend,
    check_flag,
    check_floating,
    check_like,
    check_list,
    check_number,
    check_rate_device,
)
from subkern.ops._library import define_inplace_op, scalar_tensor
from subkern.ops.adam import check_adam_numbers

_op = define_inplace_op(
    "sst_adamw",
    "(Tensor(a!)[] params, Tensor[] grads, Tensor(b!)[] exp_avgs, Tensor(c!)[] exp_avg_sqs, "
    "Tensor(d!)[] steps, Tensor(e!)[] skipped, Tensor(f!)[] tables, Tensor[] sampled, *, "
    "Tensor lr, float value_scale, float vector_scale, float beta1, float beta2, float eps, "
    "float weight_decay, int warmup, bool skip_nonfinite, str backend) -> ()",
    written=("params", "exp_avgs", "exp_avg_sqs", "steps", "skipped", "tables"),
)


def _check_homes(params: Sequence[Tensor], tables: object, sampled: object) -> None:
    """One table and one index per parameter of rows, in their order."""
    op = "sst_adamw"
    vectors = [(i, p) for i, p in enumerate(params) if p.dim() == 2]
    check_list(op, "tables", tables, len(vectors))
    check_list(op, "sampled", sampled, len(vectors))
    for j, ((i, p), table, rows) in enumerate(zip(vectors, tables, sampled, strict=True)):  # type: ignore[call-overload]
        count, length = p.shape
        if table.dim() != 2 or table.shape[1] != length or table.shape[0] < count:
            raise ValueError(
                f"{op}: tables[{j}] must have at least {count} rows of {length} for params[{i}], "
                f"got shape {tuple(table.shape)}"
            )
        check_like(op, "tables", [table], table.shape, p.dtype, p.device, j)
        check_like(op, "sampled", [rows], (count,), torch.int64, p.device, j)


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
    lr: float | Tensor,
    value_scale: float = 10.0,
    vector_scale: float = 4.0,
    betas: tuple[float, float] = (0.9, 0.999),
    eps: float = 1e-8,
    weight_decay: float = 0.01,
    warmup: int = 20,
    skip_nonfinite: bool = True,
    backend: str | None = None,
) -> None:
    """Take one step of Sparse Spectral Training for a list of values and sampled vectors.

    Every parameter has Adam's bias-corrected direction, as in torch.optim.AdamW::

        M <- b1 M + (1 - b1) G    V <- b2 V + (1 - b2) G^2
        N = M / (1 - b1^t) / (sqrt(V / (1 - b2^t)) + eps)

    A 1-D parameter S holds singular values. A 2-D one holds unit vectors as rows, which also live
    in rows ``sampled`` of their ``table``::

        S <- max(S (1 - eta wd) - eta N, 0)            eta = lr value_scale
        x <- y / ||y||,  y = x - eta N                 eta = lr vector_scale min(1, t / warmup)
        table[sampled] <- x

    A row y = 0 keeps the vector it had. A row (or S as a whole) with a gradient that is not finite
    stays as it is with its moments, and adds one to ``skipped``; t counts it all the same.
    Arithmetic is float32 (float64 for float64); each value is rounded once to its storage.
    Rules of Zhao et al., Sparse Spectral Training, 2024 (arXiv:2405.15481).

    Args:
        params: (k,) and (r, d) tensors of one dtype; modified in place.
        grads: same shapes, dtype and device: of the values, and the enhanced ones of the vectors.
        exp_avgs: M, same shapes, float32 or the dtype of ``params``; modified in place.
        exp_avg_sqs: V, like ``exp_avgs``; modified in place.
        steps: float32 0-dim tensors, t before this step; modified in place.
        skipped: float32 0-dim tensors, count of refused rows; modified in place.
        tables: (k, d) per 2-D parameter, in their order; rows ``sampled`` are written.
        sampled: (r,) int64 per 2-D parameter, distinct, in [0, k).
        lr: learning rate, a number or a one-element tensor on the CPU or beside the parameters.
        value_scale: factor on the rate of singular values, >= 0.
        vector_scale: factor on the rate of vectors, >= 0.
        betas: decay rates of the moments, each in [0, 1).
        eps: added to the corrected root, >= 0.
        weight_decay: decoupled, on the singular values alone, >= 0.
        warmup: steps over which the rate of vectors rises, >= 0.
        skip_nonfinite: when False, a non-finite gradient spreads.
        backend: force ``"reference"``, ``"cpu"`` or ``"cuda"``; None picks.

    Raises:
        TypeError: an argument of the wrong kind or dtype.
        ValueError: a wrong shape, count, device or value, written memory that overlaps, or (on the
            CPU) an index outside its table; nothing has changed. Backend "cuda" cannot read the
            indices before it runs: it leaves such a row out of the table.
        BackendUnavailableError: the forced backend cannot serve the call.

    Backends: reference, cpu, cuda.

    Example:
        >>> import torch
        >>> table = torch.eye(3)
        >>> x, g, rows = table[1:2].clone(), torch.tensor([[1.0, 0.0, 0.0]]), torch.tensor([1])
        >>> m, v, t, skips = torch.zeros(1, 3), torch.zeros(1, 3), torch.zeros(()), torch.zeros(())
        >>> sst_adamw_([x], [g], [m], [v], [t], [skips], [table], [rows], lr=0.25, warmup=0)
        >>> [round(e, 3) for e in table[1].tolist()]
        [-0.707, 0.707, 0.0]
    """
    op = "sst_adamw"
    check_list(op, "params", params, len(params))
    lists = dict(
        grads=grads, exp_avgs=exp_avgs, exp_avg_sqs=exp_avg_sqs, steps=steps, skipped=skipped
    )
    for name, tensors in lists.items():
        check_list(op, name, tensors, len(params))
    check_adam_numbers(op, lr, betas, eps, weight_decay, "pre")
    check_number(op, "value_scale", value_scale)
    check_number(op, "vector_scale", vector_scale)
    if isinstance(warmup, bool) or not isinstance(warmup, int):
        raise TypeError(f"{op}: warmup must be an integer, got {warmup!r}")
    check_number(op, "warmup", warmup)
    if not params:
        check_list(op, "tables", tables, 0)
        check_list(op, "sampled", sampled, 0)
        return
    check_floating(op, "params", params)
    check_floating(op, "exp_avgs", exp_avgs)
    dtype, device, state_dtype = params[0].dtype, params[0].device, exp_avgs[0].dtype
    for i, (p, g, m, v) in enumerate(zip(params, grads, exp_avgs, exp_avg_sqs, strict=True)):
        if p.dim() not in (1, 2):
            raise ValueError(
                f"{op}: params[{i}] must be values (k,) or rows (r, d), got shape {tuple(p.shape)}"
            )
        check_like(op, "params", [p], p.shape, dtype, device, i)
        check_like(op, "grads", [g], p.shape, dtype, device, i)
        check_like(op, "exp_avgs", [m], p.shape, state_dtype, device, i)
        check_like(op, "exp_avg_sqs", [v], p.shape, state_dtype, device, i)
    check_like(op, "steps", steps, (), torch.float32, device)
    check_like(op, "skipped", skipped, (), torch.float32, device)
    check_rate_device(op, lr, device)
    _check_homes(params, tables, sampled)
    with torch.no_grad():
        _op(
            params,
            grads,
            exp_avgs,
            exp_avg_sqs,
            steps,
            skipped,
            tables,
            sampled,
            lr=scalar_tensor(lr),
            value_scale=float(value_scale),
            vector_scale=float(vector_scale),
            beta1=float(betas[0]),
            beta2=float(betas[1]),
            eps=float(eps),
            weight_decay=float(weight_decay),
            warmup=warmup,
            skip_nonfinite=check_flag(op, "skip_nonfinite", skip_nonfinite),
            backend=check_backend(op, backend),
        )
