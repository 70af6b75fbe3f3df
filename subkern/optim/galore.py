"""GaLore: gradient low-rank projection (Zhao et al., 2024, arXiv:2403.03507)."""

from __future__ import annotations

from typing import Any, ClassVar

from subkern.optim._engine import LowRankOptimizer


class GaLoreAdamW(LowRankOptimizer):
    """AdamW whose moments live in a low-rank subspace of each gradient.

    Every matrix of a group with a ``rank`` is updated as (X the gradient, P its basis)::

        R = P^T X,   M <- b1 M + (1 - b1) R,   V <- b2 V + (1 - b2) R^2,   N = M / (sqrt(V) + eps)
        W <- (W - lr sqrt(1 - b2^t) / (1 - b1^t) * scale * P N)(1 - lr wd)

    P spans the leading ``rank`` left (``proj_type`` "std": the shorter side's) singular vectors of
    the gradient and is refreshed every ``update_proj_gap`` calls. Groups without ``rank`` take the
    same Adam step unprojected. Class name, arguments and group keys are those of galore-torch.

    Args:
        params: parameters or group dicts. Low-rank group keys: ``rank``, ``update_proj_gap`` (200),
            ``scale`` (0.25; ``alpha`` is an alias), ``proj_type`` ("std", "reverse_std", "left",
            "right", "full").
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
        >>> opt = GaLoreAdamW([{"params": [w], "rank": 2, "update_proj_gap": 50}], lr=0.01)
        >>> w.square().sum().backward()
        >>> opt.step()
    """

    rule: ClassVar[str] = "galore"
    method_defaults: ClassVar[dict[str, Any]] = {"scale": 0.25}
