"""Fira: full-rank training under a low-rank constraint (Chen et al., 2024, arXiv:2410.01623)."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, ClassVar

from torch import nn

from subkern.ops._checks import check_choice, check_number
from subkern.optim._engine import LowRankOptimizer
from subkern.optim._groups import PROJ_TYPES, check_count


class FiraAdamW(LowRankOptimizer):
    """GaLore's step plus the residual of the gradient, scaled per column and limited in growth.

    With GaLore's R and N, and a = ``scale`` (alpha) or 1 when not ``alpha_in_residual``::

        phi_j = ||N_j|| / (||R_j|| + norm_eps),   E = X - a P R,   S = phi * E
        s = 1 on the first step, else 1 / L,  L = max(||S|| / (prev + norm_eps), gamma) / gamma
        W <- (W - lr sqrt(1 - b2^t) / (1 - b1^t) * (scale * P N + s S))(1 - lr wd)

    Class name, arguments and group keys are those of fira; ``alpha`` is an alias of ``scale``.

    Args:
        params: parameters or group dicts. Low-rank group keys: ``rank``, ``update_proj_gap`` (200),
            ``scale`` or ``alpha`` (1.0), ``proj_type`` ("std", "reverse_std", "left", "right",
            "full"), ``gamma`` (1.01), ``norm_eps`` (1e-8), ``alpha_in_residual`` (True, as the
            published code; the paper's residual is False), ``granularity`` ("column", or "matrix":
            one phi for the matrix, always so for "full").
        lr: learning rate, a number or a one-element tensor.
        betas: decay rates of the moments.
        eps: added to the uncorrected root of V.
        weight_decay: decoupled weight decay, applied as ``decay`` says.
        correct_bias: whether the step size carries the bias corrections.
        no_deprecation_warning: accepted for old scripts, ignored.
        **engine: defaults of further group keys, see :class:`LowRankOptimizer`.

    Raises:
        TypeError: a parameter or argument of the wrong kind.
        ValueError: a value out of range, an unknown choice, a non-matrix in a low-rank group.

    Backends: reference, cpu, triton, cuda.

    Example:
        >>> import torch
        >>> w = torch.nn.Parameter(torch.randn(8, 6))
        >>> opt = FiraAdamW([{"params": [w], "rank": 2, "alpha": 0.25}], lr=0.01)
        >>> w.square().sum().backward()
        >>> opt.step()
    """

    rule: ClassVar[str] = "fira"
    method_defaults: ClassVar[dict[str, Any]] = {
        "scale": 1.0,
        "gamma": 1.01,
        "norm_eps": 1e-8,
        "alpha_in_residual": True,
        "granularity": "column",
    }


def divide_params(
    model: nn.Module,
    target_modules_list: Sequence[str] = (),
    rank: int = 8,
    update_proj_gap: int = 200,
    alpha: float = 1.0,
    proj_type: str = "std",
) -> list[dict[str, Any]]:
    """Split a model's parameters into an unprojected and a low-rank group, as fira's helper does.

    Args:
        model: the module to optimize.
        target_modules_list: a linear layer is projected when its name contains one of these.
        rank: rank of the projection.
        update_proj_gap: calls between refreshes of the basis.
        alpha: scale of the projected update.
        proj_type: side rule.

    Returns:
        Two group dicts: the regular parameters first, the projected weights second.

    Raises:
        TypeError: ``model`` is not a module, or a value of the wrong kind.
        ValueError: a value out of range.

    Example:
        >>> groups = divide_params(nn.Sequential(nn.Linear(4, 4)), ["0"], rank=2)
        >>> [len(g["params"]) for g in groups]
        [1, 1]
    """
    if not isinstance(model, nn.Module):
        raise TypeError(f"divide_params: model must be a torch module, got {type(model).__name__}")
    op = "divide_params"
    keys = target_modules_list
    if isinstance(keys, str) or not all(isinstance(key, str) for key in keys):
        raise TypeError(f"{op}: target_modules_list must be a list of strings, got {keys!r}")
    check_count(op, "rank", rank)
    check_count(op, "update_proj_gap", update_proj_gap)
    check_number(op, "alpha", alpha)
    check_choice(op, "proj_type", proj_type, PROJ_TYPES)
    projected = [
        module.weight
        for name, module in model.named_modules()
        if isinstance(module, nn.Linear) and any(key in name for key in keys)
    ]
    chosen = {id(p) for p in projected}
    return [
        {"params": [p for p in model.parameters() if id(p) not in chosen]},
        {
            "params": list({id(p): p for p in projected}.values()),
            "rank": rank,
            "update_proj_gap": update_proj_gap,
            "alpha": alpha,
            "proj_type": proj_type,
        },
    ]
