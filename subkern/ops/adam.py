"""Unprojected Adam step of the GaLore family, for lists of tensors."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor

from subkern.ops._checks import (
    check_backend,
    check_choice,
    check_flag,
    check_floating,
    check_like,
    check_list,
    check_number,
    check_rate_device,
    check_scalar,
)
from subkern.ops._library import define_inplace_op, scalar_tensor

DECAYS = ("post", "pre")

_op = define_inplace_op(
    "adam",
    "(Tensor(a!)[] params, Tensor[] grads, Tensor(b!)[] exp_avgs, Tensor(c!)[] exp_avg_sqs, "
    "Tensor(d!)[] steps, Tensor(e!)[] skipped, *, Tensor lr, float beta1, float beta2, float eps, "
    "float weight_decay, bool correct_bias, str decay, bool skip_nonfinite, str backend) -> ()",
    written=("params", "exp_avgs", "exp_avg_sqs", "steps", "skipped"),
)


def check_adam_numbers(
    op: str,
    lr: float | Tensor,
    betas: tuple[float, float],
    eps: float,
    weight_decay: float,
    decay: str,
) -> None:
    """Ranges of the hyperparameters that every Adam-like op shares."""
    if isinstance(lr, Tensor):
        check_scalar(op, "lr", lr)
    else:
        check_number(op, "lr", lr)
    if not isinstance(betas, (tuple, list)) or len(betas) != 2:
        raise TypeError(f"{op}: betas must be two numbers, got {betas!r}")
    check_number(op, "betas[0]", betas[0], 0.0, 1.0)
    check_number(op, "betas[1]", betas[1], 0.0, 1.0)
    check_number(op, "eps", eps)
    check_number(op, "weight_decay", weight_decay)
    check_choice(op, "decay", decay, DECAYS)


def adam_(
    params: Sequence[Tensor],
    grads: Sequence[Tensor],
    exp_avgs: Sequence[Tensor],
    exp_avg_sqs: Sequence[Tensor],
    steps: Sequence[Tensor],
    skipped: Sequence[Tensor],
    *,
    lr: float | Tensor,
    betas: tuple[float, float] = (0.9, 0.999),
    eps: float = 1e-6,
    weight_decay: float = 0.0,
    correct_bias: bool = True,
    decay: str = "post",
    skip_nonfinite: bool = True,
    backend: str | None = None,
) -> None:
    """Take one Adam step, with the epsilon placement of the GaLore family, for a list of tensors.

    For every parameter W with gradient G::

        M <- b1 M + (1 - b1) G        V <- b2 V + (1 - b2) G^2        N = M / (sqrt(V) + eps)
        eta = lr sqrt(1 - b2^t) / (1 - b1^t)       (eta = lr when correct_bias is False)
        W <- (W - eta N)(1 - lr wd)   for decay="post";   W (1 - lr wd) - eta N   for "pre"

    Arithmetic is float32 (float64 for float64 tensors) whatever the storage; W is rounded once.
    A gradient that is not finite leaves W, M, V and t untouched and adds one to ``skipped``.
    The core is that of GaLore (Zhao et al., 2024, arXiv:2403.03507).

    Args:
        params: tensors of one dtype and any shapes; modified in place.
        grads: same shapes, dtype and device as ``params``.
        exp_avgs: M, same shapes, float32 or the dtype of ``params``; modified in place.
        exp_avg_sqs: V, like ``exp_avgs``; modified in place.
        steps: float32 0-dim tensors, t before this step; modified in place.
        skipped: float32 0-dim tensors, count of skipped steps; modified in place.
        lr: learning rate, a number or a one-element tensor on the CPU or beside the parameters.
        betas: decay rates of the moments, each in [0, 1).
        eps: added to the uncorrected root, >= 0.
        weight_decay: decoupled weight decay, >= 0.
        correct_bias: whether eta carries the bias corrections.
        decay: ``"post"`` (as published) or ``"pre"`` (as torch.optim.AdamW).
        skip_nonfinite: when False, a non-finite gradient spreads as in the published code.
        backend: force ``"reference"``, ``"cpu"``, ``"triton"`` or ``"cuda"``; None picks.

    Raises:
        TypeError: an argument of the wrong kind or dtype.
        ValueError: a wrong shape, count, device or value, or written memory that overlaps.
        BackendUnavailableError: the forced backend cannot serve the call.

    Backends: reference, cpu, triton, cuda.

    Example:
        >>> import torch
        >>> w, g, m, v = torch.ones(3), torch.ones(3), torch.zeros(3), torch.zeros(3)
        >>> t, skips = torch.zeros(()), torch.zeros(())
        >>> adam_([w], [g], [m], [v], [t], [skips], lr=0.1)
        >>> [round(x, 3) for x in w.tolist()], t.item()
        ([0.9, 0.9, 0.9], 1.0)
    """
    check_list("adam", "params", params, len(params))
    count = len(params)
    lists = dict(
        grads=grads, exp_avgs=exp_avgs, exp_avg_sqs=exp_avg_sqs, steps=steps, skipped=skipped
    )
    for name, tensors in lists.items():
        check_list("adam", name, tensors, count)
    check_adam_numbers("adam", lr, betas, eps, weight_decay, decay)
    if not count:
        return
    check_floating("adam", "params", params)
    check_floating("adam", "exp_avgs", exp_avgs)
    dtype, device, state_dtype = params[0].dtype, params[0].device, exp_avgs[0].dtype
    rows = zip(params, grads, exp_avgs, exp_avg_sqs, strict=True)
    for i, (p, g, m, v) in enumerate(rows):
        check_like("adam", "params", [p], p.shape, dtype, device, i)
        check_like("adam", "grads", [g], p.shape, dtype, device, i)
        check_like("adam", "exp_avgs", [m], p.shape, state_dtype, device, i)
        check_like("adam", "exp_avg_sqs", [v], p.shape, state_dtype, device, i)
    check_like("adam", "steps", steps, (), torch.float32, device)
    check_like("adam", "skipped", skipped, (), torch.float32, device)
    check_rate_device("adam", lr, device)
    with torch.no_grad():
        _op(
            params,
            grads,
            exp_avgs,
            exp_avg_sqs,
            steps,
            skipped,
            lr=scalar_tensor(lr),
            beta1=float(betas[0]),
            beta2=float(betas[1]),
            eps=float(eps),
            weight_decay=float(weight_decay),
            correct_bias=check_flag("adam", "correct_bias", correct_bias),
            decay=decay,
            skip_nonfinite=check_flag("adam", "skip_nonfinite", skip_nonfinite),
            backend=check_backend("adam", backend),
        )
