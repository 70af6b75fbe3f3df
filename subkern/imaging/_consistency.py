"""Data consistency of one denoised image after another, by one solver and one choice of weights."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from typing import Any

import torch
from torch import Tensor

from subkern.imaging.schedules import Schedule
from subkern.ops._checks import check_choice, check_number, check_tensor
from subkern.ops._operator import LinearOperator
from subkern.ops.cg import cg, cg_prox, check_gamma
from subkern.ops.lanczos_prox import lanczos_prox

LEAST, MOST = 1.0, 400.0  # bounds of the matched weight
RULES = ("auto", "matched", "discrepancy")

Variance = Tensor | Sequence[float] | Callable[[int], float]


def noise_level(op: str, sigma: float | Tensor | None, like: Tensor) -> Tensor | None:
    """The noise of each sample; the values of a tensor are not looked at."""
    if sigma is None:
        return None
    if not isinstance(sigma, Tensor):
        if check_number(op, "sigma", sigma) == 0:
            raise ValueError(f"{op}: sigma must be positive, got {sigma}; gamma=None is noiseless")
        return torch.full((len(like),), float(sigma), dtype=like.real.dtype, device=like.device)
    check_tensor(op, "sigma", sigma)
    if not sigma.is_floating_point():
        raise TypeError(f"{op}: sigma must be floating point, got {sigma.dtype}")
    if sigma.shape not in ((), (1,), (len(like),)):
        raise ValueError(
            f"{op}: sigma must be a number or have one for each of {len(like)} samples, "
            f"got shape {tuple(sigma.shape)}"
        )
    if sigma.device != like.device and sigma.dim():
        raise ValueError(f"{op}: sigma must be on {like.device}, got {sigma.device}")
    return sigma.detach().to(like.device, like.real.dtype).expand(len(like))


def variances(
    op: str, variance: Variance | None, times: list[int], schedule: Schedule
) -> list[float]:
    """v_t for every time that is visited."""
    if variance is None:
        raise ValueError(
            f"{op}: variance must be given for gamma='matched', got None; see "
            f"subkern.imaging.calibrate"
        )
    if callable(variance) and not isinstance(variance, Tensor):
        found = [float(variance(t)) for t in times]
    else:
        table = torch.as_tensor(variance, dtype=torch.float64).cpu()
        if table.shape != (len(schedule),):
            raise ValueError(
                f"{op}: variance must have shape ({len(schedule)},), one for each time, "
                f"got {tuple(table.shape)}"
            )
        found = table[times].tolist()
    if any(not math.isfinite(v) or v < 0 for v in found):
        raise ValueError(f"{op}: variance must be finite and zero or more, got others")
    return found


class Consistency:
    """(index of the step, x0) -> x0 that agrees with the data, and the weight that was used."""

    def __init__(
        self,
        operator: LinearOperator,
        y: Tensor,
        Aty: Tensor,
        *,
        gamma: float | Tensor | str | None,
        sigma: float | Tensor | None,
        variance: Variance | None,
        times: list[int],
        schedule: Schedule,
        M: int,
        coupling: str,
        backend: str | None,
    ):
        self._operator, self._y, self._Aty, self._M, self._backend = operator, y, Aty, M, backend
        self._options: dict[str, Any] = dict(maxiter=M, coupling=coupling, backend=backend)
        self._target: Tensor | None = None
        self._gammas: list[Tensor | None] = [None] * len(times)
        noise = noise_level("dds", sigma, Aty)
        if not isinstance(gamma, str):
            self._gammas = [check_gamma("dds", gamma, Aty)] * len(times)
            return
        check_choice("dds", "gamma", gamma, RULES)
        if noise is None:
            if gamma == "auto":
                raise ValueError("dds: gamma or sigma must be given, got neither")
            raise ValueError(f"dds: sigma must be given for gamma={gamma!r}, got None")
        if gamma == "discrepancy":
            if coupling != "sample":
                raise ValueError(
                    f"dds: coupling must be 'sample' for gamma='discrepancy', got {coupling!r}"
                )
            measured = (y != 0).flatten(1).sum(1)
            self._target = noise * measured.to(noise.dtype).sqrt()
            return
        table = variances("dds", variance, times, schedule)
        self._gammas = [(v / noise.square()).clamp(LEAST, MOST) for v in table]

    def __call__(self, index: int, x0: Tensor) -> tuple[Tensor, Tensor | None]:
        """The consistent image, and the weight of each sample; None in the noiseless form."""
        if self._target is not None:
            space = lanczos_prox(
                self._operator, x0, self._Aty, self._M, y=self._y, backend=self._backend
            )
            return space.discrepancy(self._target)
        weight = self._gammas[index]
        if weight is None:
            return cg(self._operator, self._Aty, x0, **self._options).x, None
        found = cg_prox(self._operator, x0, Aty=self._Aty, gamma=weight, **self._options)
        return found.x, weight
