"""The eager mathematics of a low-rank step as plain functions, for `torch.compile`."""

import math
from collections.abc import Callable
from functools import lru_cache, partial

import torch
from torch import Tensor

from subkern.bench.gradients import canonical
from subkern.bench.problem import Problem
from subkern.bench.registry import Absent, Variant
from subkern.bench.truth import GAMMA, NORM_EPS, Recipe
from subkern.bench.variants import verify


def _moments(r: Tensor, m: Tensor, v: Tensor, recipe: Recipe) -> Tensor:
    m.mul_(recipe.beta1).add_(r, alpha=1 - recipe.beta1)
    v.mul_(recipe.beta2).addcmul_(r, r, value=1 - recipe.beta2)
    return m / (v.sqrt() + recipe.eps)


def plain_step(x: Tensor, w: Tensor, m: Tensor, v: Tensor, size: Tensor, recipe: Recipe) -> None:
    """Adam on a whole matrix; `size` is the step size as a 0-dim tensor."""
    w.sub_(size * _moments(x.float(), m, v, recipe))


def galore_step(
    x: Tensor, w: Tensor, p: Tensor, m: Tensor, v: Tensor, size: Tensor, recipe: Recipe
) -> None:
    """GaLore on canonical views: x and w are k x q, p is k x r."""
    n = _moments(torch.mm(p.T, x).float(), m, v, recipe)
    w.sub_(size * recipe.scale * torch.mm(p, n.to(p.dtype)))


def fira_step(
    x: Tensor,
    w: Tensor,
    p: Tensor,
    m: Tensor,
    v: Tensor,
    size: Tensor,
    recipe: Recipe,
    limiter: Tensor,
) -> None:
    """Fira on canonical views; `limiter` is a 0-dim tensor, 0 before the first step."""
    low = torch.mm(p.T, x)
    r = low.float()
    n = _moments(r, m, v, recipe)
    phi = n.norm(dim=0) / (r.norm(dim=0) + NORM_EPS)
    residual = (x.float() - recipe.scale * torch.mm(p, low).float()) * phi
    norm = residual.norm()
    growth = torch.clamp(norm / (limiter + NORM_EPS), min=GAMMA) / GAMMA
    growth = torch.where(limiter > 0, growth, 1.0)
    limiter.copy_(norm / growth)
    update = recipe.scale * torch.mm(p, n.to(p.dtype)) + residual / growth
    w.sub_(size * update)


@lru_cache(maxsize=2)
def works(where: torch.device) -> str | None:
    """None when torch.compile can compile for this device, else why not."""
    try:
        torch.compile(lambda x: x + 1)(torch.ones(4, device=where))
    except Exception as error:
        return f"torch.compile: {type(error).__name__}: {' '.join(str(error).split())[:160]}"
    return None


def compiled(problem: Problem, rule: str, recipe: Recipe) -> Variant | Absent:
    """The functions above, compiled for the problem's shapes, one call per matrix."""
    if (reason := works(problem.where)) is not None:
        return Absent("compiled", reason)
    # A fresh cache per case: eight shapes of one function would end in eager code without a word.
    torch.compiler.reset()
    projected: dict[str, Callable[..., None]] = {"galore": galore_step, "fira": fira_step}
    low, whole = (torch.compile(f, dynamic=False) for f in (projected[rule], plain_step))
    weights = [problem.weight(i) for i in range(len(problem.grads))]
    size = torch.zeros((), device=problem.where)
    bases = [problem.cheap_basis(i) for i in range(problem.count)]
    calls: list[Callable[[], None]] = []
    for i, (weight, grad) in enumerate(zip(weights, problem.grads, strict=True)):
        if i < problem.count:
            x, w = canonical(grad), canonical(weight)
            low_shape = (problem.rank, x.shape[1])
            moments = (torch.zeros(low_shape, device=problem.where) for _ in range(2))
            limiter = [torch.zeros_like(size)] if rule == "fira" else []
            calls.append(partial(low, x, w, bases[i], *moments, size, recipe, *limiter))
        else:
            moments = (torch.zeros(grad.shape, device=problem.where) for _ in range(2))
            calls.append(partial(whole, grad, weight, *moments, size, recipe))
    taken = 0

    def step() -> None:
        nonlocal taken
        taken += 1
        bias = math.sqrt(1 - recipe.beta2**taken) / (1 - recipe.beta1**taken)
        size.fill_(recipe.lr * bias)
        for call in calls:
            call()

    def refresh() -> None:
        for i, basis in enumerate(bases):
            x = canonical(problem.grads[i]).float()
            basis.copy_(torch.linalg.qr(x @ (x.T @ basis.float()))[0])
        step()

    return Variant(
        "compiled",
        step,
        lambda: verify(problem, rule, recipe, [step, step], weights.__getitem__, bases.__getitem__),
        refresh=refresh if bases else None,
        backend="torch.compile",
        note="refreshes by one power iteration and torch.linalg.qr" if bases else "",
    )
