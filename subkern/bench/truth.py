"""The steps in fp64, written out literally: what every variant's weights are compared with."""

import math
from dataclasses import dataclass

import torch
from torch import Tensor

from subkern.bench.gradients import canonical

GAMMA = 1.01
NORM_EPS = 1e-8


@dataclass(frozen=True)
class Recipe:
    """Numbers of an optimizer run."""

    lr: float
    beta1: float = 0.9
    beta2: float = 0.999
    eps: float = 1e-6
    scale: float = 0.25


def adam_direction(
    recipe: Recipe, gradient: Tensor, m: Tensor, v: Tensor, t: int
) -> tuple[Tensor, float]:
    """Update the moments in place; returns N = M / (sqrt(V) + eps) and the step size."""
    m.mul_(recipe.beta1).add_(gradient, alpha=1 - recipe.beta1)
    v.mul_(recipe.beta2).addcmul_(gradient, gradient, value=1 - recipe.beta2)
    size = recipe.lr * math.sqrt(1 - recipe.beta2**t) / (1 - recipe.beta1**t)
    return m / (v.sqrt() + recipe.eps), size


class PlainTruth:
    """Adam on a whole tensor, eps added to the uncorrected root as in the published packages."""

    def __init__(self, recipe: Recipe, weight: Tensor, t: int = 0, torch_eps: bool = False) -> None:
        self.recipe, self.t, self.torch_eps = recipe, t, torch_eps
        self.weight = weight.double()
        self.m, self.v = torch.zeros_like(self.weight), torch.zeros_like(self.weight)

    def step(self, gradient: Tensor) -> None:
        """One step; with `torch_eps` eps is added to the corrected root, as torch does."""
        self.t += 1
        n, size = adam_direction(self.recipe, gradient.double(), self.m, self.v, self.t)
        if self.torch_eps:
            corrected = self.recipe.eps * math.sqrt(1 - self.recipe.beta2**self.t)
            n = self.m / (self.v.sqrt() + corrected)
        self.weight -= size * n


class LowRankTruth:
    """GaLore or Fira on one matrix, given the basis that the variant used in each step."""

    def __init__(self, rule: str, recipe: Recipe, weight: Tensor, rank: int, t: int = 0) -> None:
        self.rule, self.recipe, self.t = rule, recipe, t
        self.weight = weight.double()
        longer = max(weight.shape)
        self.m, self.v = (self.weight.new_zeros(rank, longer) for _ in range(2))
        self.limiter: float | None = None

    def step(self, gradient: Tensor, basis: Tensor) -> None:
        """One step with `basis` k x r."""
        self.t += 1
        x, p = canonical(gradient).double(), basis.double()
        r = p.T @ x
        n, size = adam_direction(self.recipe, r, self.m, self.v, self.t)
        update = self.recipe.scale * (p @ n)
        if self.rule == "fira":
            update += self._residual(x, p, r, n)
        canonical(self.weight).sub_(size * update)

    def _residual(self, x: Tensor, p: Tensor, r: Tensor, n: Tensor) -> Tensor:
        """What the subspace misses, scaled per column and limited in growth."""
        phi = n.norm(dim=0) / (r.norm(dim=0) + NORM_EPS)
        residual = (x - self.recipe.scale * (p @ r)) * phi
        norm = residual.norm().item()
        if self.limiter is None:
            self.limiter = norm
            return residual
        growth = max(norm / (self.limiter + NORM_EPS), GAMMA) / GAMMA
        self.limiter = norm / growth
        return residual / growth
