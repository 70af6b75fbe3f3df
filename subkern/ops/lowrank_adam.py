"""Fused low-rank projection + Adam step (GaLore, Fira), for lists of equal-shape matrices."""

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
)
from subkern.ops._library import define_inplace_op, scalar_tensor
from subkern.ops.adam import check_adam_numbers

SIDES = ("left", "right", "full")
RULES = ("galore", "fira")
GRANULARITIES = ("column", "matrix")

_op = define_inplace_op(
    "lowrank_adam",
    "(Tensor(a!)[] params, Tensor[] grads, Tensor[] bases, Tensor(b!)[] exp_avgs, "
    "Tensor(c!)[] exp_avg_sqs, Tensor(d!)[] steps, Tensor(e!)[] skipped, Tensor(f!)[] limiters, "
    "Tensor[] bases_right, *, Tensor lr, float beta1, float beta2, float eps, float weight_decay, "
    "bool correct_bias, str decay, str side, str rule, float scale, float gamma, float norm_eps, "
    "bool alpha_in_residual, str granularity, bool skip_nonfinite, str backend) -> ()",
    written=("params", "exp_avgs", "exp_avg_sqs", "steps", "skipped", "limiters"),
)


def lowrank_shape(m: int, n: int, rank: int, side: str) -> tuple[int, int]:
    """Shape of the projected gradient R: r x n (left), m x r (right), r x r (full)."""
    return {"left": (rank, n), "right": (m, rank), "full": (rank, rank)}[side]


def _check_shapes(
    params: Sequence[Tensor], bases: Sequence[Tensor], side: str, lists: dict[str, Sequence[Tensor]]
) -> None:
    op = "lowrank_adam"
    check_floating(op, "params", params)
    check_floating(op, "bases", bases)
    check_floating(op, "exp_avgs", lists["exp_avgs"])
    dtype, device, shape = params[0].dtype, params[0].device, params[0].shape
    basis_dtype, state_dtype = bases[0].dtype, lists["exp_avgs"][0].dtype
    if len(shape) != 2:
        raise ValueError(f"{op}: params must be matrices, got shape {tuple(shape)}")
    if bases[0].dim() != 2:
        raise ValueError(f"{op}: bases must be matrices, got shape {tuple(bases[0].shape)}")
    m, n = shape
    k = n if side == "right" else m
    rank, largest = bases[0].shape[1], min(m, n) if side == "full" else k
    if not 1 <= rank <= largest:
        raise ValueError(f"{op}: rank must be in [1, {largest}], got {rank} columns in bases")
    check_like(op, "params", params, shape, dtype, device)
    check_like(op, "grads", lists["grads"], shape, dtype, device)
    check_like(op, "bases", bases, (k, rank), basis_dtype, device)
    check_like(op, "bases_right", lists["bases_right"], (n, rank), basis_dtype, device)
    low = lowrank_shape(m, n, rank, side)
    check_like(op, "exp_avgs", lists["exp_avgs"], low, state_dtype, device)
    check_like(op, "exp_avg_sqs", lists["exp_avg_sqs"], low, state_dtype, device)
    for name in ("steps", "skipped", "limiters"):
        check_like(op, name, lists[name], (), torch.float32, device)


def lowrank_adam_(
    params: Sequence[Tensor],
    grads: Sequence[Tensor],
    bases: Sequence[Tensor],
    exp_avgs: Sequence[Tensor],
    exp_avg_sqs: Sequence[Tensor],
    steps: Sequence[Tensor],
    skipped: Sequence[Tensor],
    limiters: Sequence[Tensor] = (),
    bases_right: Sequence[Tensor] = (),
    *,
    lr: float | Tensor,
    betas: tuple[float, float] = (0.9, 0.999),
    eps: float = 1e-6,
    weight_decay: float = 0.0,
    correct_bias: bool = True,
    decay: str = "post",
    side: str = "left",
    rule: str = "galore",
    scale: float = 1.0,
    gamma: float = 1.01,
    norm_eps: float = 1e-8,
    alpha_in_residual: bool = True,
    granularity: str = "column",
    skip_nonfinite: bool = True,
    backend: str | None = None,
) -> None:
    """Project gradients onto their bases, take an Adam step there, and apply it to the weights.

    For every m x n parameter W with gradient G and basis P (orthonormal columns)::

        R = P^T G (left, r x n)    G P (right, m x r)    P^T G Q (full, r x r)
        M <- b1 M + (1 - b1) R     V <- b2 V + (1 - b2) R^2     N = M / (sqrt(V) + eps)
        eta = lr sqrt(1 - b2^t) / (1 - b1^t)       (eta = lr when correct_bias is False)
        galore:  U = scale * back(N),  back(N) = P N, N P^T or P N Q^T
        fira:    U = scale * back(N) + s * phi * E,   E = G - a * back(R)
                 phi_j = ||N_j|| / (||R_j|| + norm_eps) for each column j (row j when right)
                 s = 1 at first, then 1/L, L = max(||phi E|| / (prev + norm_eps), gamma) / gamma
        W <- (W - eta U)(1 - lr wd)   for decay="post";   W (1 - lr wd) - eta U   for "pre"

    Fira's residual E is never built on fast backends. a = scale, or 1 if not
    ``alpha_in_residual``. A zero R_j gives phi_j = 0; residual energy below 1e-6 of ||G_j||^2
    counts as zero in the limiter; a basis that spans the whole space with a = 1 skips the residual.
    Arithmetic is float32 (float64 for float64 tensors); R and D of bfloat16 operands may be rounded
    to bfloat16. A gradient that is not finite leaves everything untouched and adds
    one to ``skipped``. GaLore: Zhao et al., 2024, arXiv:2403.03507. Fira: Chen et al., 2024,
    arXiv:2410.01623.

    Scratch beyond the arguments: at most 32 MB, or what one parameter takes where that is more: R
    in float32 (r x max(m, n)), on a GPU also its direction and, for Fira, R once more in the
    parameters' dtype; side="full" adds T = P^T G.

    Args:
        params: m x n matrices of one shape and dtype; modified in place.
        grads: like ``params``.
        bases: P, k x r with k = m (left, full) or n (right), one dtype.
        exp_avgs: M in the shape of R, float32 or the dtype of ``params``; modified in place.
        exp_avg_sqs: V, like ``exp_avgs``; modified in place.
        steps: float32 0-dim tensors, t before this step; modified in place.
        skipped: float32 0-dim tensors, count of skipped steps; modified in place.
        limiters: fira only: float32 0-dim tensors, prev (0 before the first); modified in place.
        bases_right: side="full" only: Q, n x r.
        lr: learning rate, a number or a one-element tensor on the CPU or beside the parameters.
        betas: decay rates of the moments, each in [0, 1).
        eps: added to the uncorrected root, >= 0.
        weight_decay: decoupled weight decay, >= 0.
        correct_bias: whether eta carries the bias corrections.
        decay: ``"post"`` (as published) or ``"pre"`` (as torch.optim.AdamW).
        side: ``"left"``, ``"right"`` or ``"full"``.
        rule: ``"galore"`` or ``"fira"``.
        scale: factor of the projected update (alpha in Fira).
        gamma: fira only: largest growth of the residual norm from step to step, >= 1.
        norm_eps: fira only: added to the norms that divide.
        alpha_in_residual: fira only: subtract scale * back(R) as the code does, not back(R).
        granularity: fira only: ``"column"`` or ``"matrix"``, one phi for all (always so for full).
        skip_nonfinite: when False, a non-finite gradient spreads as in the published code.
        backend: force ``"reference"``, ``"cpu"``, ``"triton"`` or ``"cuda"``; None picks.

    Raises:
        TypeError: an argument of the wrong kind or dtype.
        ValueError: a wrong shape, count, device or value, or written memory that overlaps.
        BackendUnavailableError: the forced backend cannot serve the call.

    Backends: reference, cpu, triton, cuda.

    Example:
        >>> import torch
        >>> W, G, P = torch.zeros(4, 6), torch.ones(4, 6), torch.full((4, 1), 0.5)
        >>> M, V, t, skips = torch.zeros(1, 6), torch.zeros(1, 6), torch.zeros(()), torch.zeros(())
        >>> lowrank_adam_([W], [G], [P], [M], [V], [t], [skips], lr=0.1)
        >>> round(W[0, 0].item(), 4)
        -0.05
    """
    op = "lowrank_adam"
    check_list(op, "params", params, len(params))
    count = len(params)
    check_choice(op, "side", side, SIDES)
    check_choice(op, "rule", rule, RULES)
    check_choice(op, "granularity", granularity, GRANULARITIES)
    check_adam_numbers(op, lr, betas, eps, weight_decay, decay)
    check_number(op, "scale", scale)
    check_number(op, "gamma", gamma, 1.0)
    check_number(op, "norm_eps", norm_eps)
    check_list(op, "bases", bases, count)
    lists = dict(
        grads=grads, exp_avgs=exp_avgs, exp_avg_sqs=exp_avg_sqs, steps=steps, skipped=skipped
    )
    lists |= dict(limiters=limiters, bases_right=bases_right)
    optional = dict(limiters=rule == "fira", bases_right=side == "full")
    for name, tensors in lists.items():
        check_list(op, name, tensors, count if optional.get(name, True) else 0)
    if not count:
        return
    _check_shapes(params, bases, side, lists)
    check_rate_device(op, lr, params[0].device)
    with torch.no_grad():
        _op(
            params,
            grads,
            bases,
            exp_avgs,
            exp_avg_sqs,
            steps,
            skipped,
            limiters,
            bases_right,
            lr=scalar_tensor(lr),
            beta1=float(betas[0]),
            beta2=float(betas[1]),
            eps=float(eps),
            weight_decay=float(weight_decay),
            correct_bias=check_flag(op, "correct_bias", correct_bias),
            decay=decay,
            side=side,
            rule=rule,
            scale=float(scale),
            gamma=float(gamma),
            norm_eps=float(norm_eps),
            alpha_in_residual=check_flag(op, "alpha_in_residual", alpha_in_residual),
            granularity=granularity,
            skip_nonfinite=check_flag(op, "skip_nonfinite", skip_nonfinite),
            backend=check_backend(op, backend),
        )
