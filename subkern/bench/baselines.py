"""What a low-rank step is compared with: the published packages, dense AdamW, the two products."""

from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor

from subkern.bench import peers
from subkern.bench.problem import Problem
from subkern.bench.registry import Absent, Variant, relative_error
from subkern.bench.truth import PlainTruth, Recipe
from subkern.bench.variants import NEVER, groups, verify


def official(problem: Problem, rule: str, recipe: Recipe) -> Variant | Absent:
    """galore-torch or fira from the package index, given a basis; its SVD is timed apart."""
    try:
        kind = peers.adamw(rule)
    except ImportError as error:
        return Absent("official", str(error))
    parameters = problem.parameters()
    scale_key = {"galore": "scale", "fira": "alpha"}[rule]
    made = groups(problem, parameters, scale_key, recipe.scale)
    optimizer = kind(made, lr=recipe.lr, no_deprecation_warning=True)
    bases: list[Tensor] = []
    parts: dict[tuple[int, ...], list[Callable[[], object]]] = {}
    for i, parameter in enumerate(parameters[: problem.count]):
        side = "right" if parameter.shape[0] >= parameter.shape[1] else "left"
        options = {"update_proj_gap": NEVER, scale_key: recipe.scale, "proj_type": "std"}
        projector = peers.projector(rule)(problem.rank, **options)
        bases.append(problem.cheap_basis(i))
        projector.ortho_matrix = bases[i].T.contiguous() if side == "right" else bases[i]
        # Call 0 is due in any case; from 1 on the given basis stays.
        optimizer.state[parameter].update(step=1, projector=projector)

        def svd(i: int = i, projector: Any = projector, side: str = side) -> Tensor:
            return projector.get_orthogonal_matrix(problem.grads[i], problem.rank, type=side)

        # On a GPU an SVD takes seconds a matrix; the cases of the refresh time it.
        if problem.where.type == "cpu":
            parts.setdefault(tuple(parameter.shape), []).append(svd)
    for parameter in parameters[problem.count :]:
        optimizer.state[parameter]["step"] = 1
    return Variant(
        "official",
        optimizer.step,
        lambda: verify(
            problem,
            rule,
            recipe,
            [optimizer.step] * 2,
            parameters.__getitem__,
            bases.__getitem__,
            1,
        ),
        refresh=optimizer.step if parts else None,
        refresh_parts=[(len(same), same[0]) for same in parts.values()],
        # Fira's limiter compares numbers on the host.
        capturable=False,
        backend=peers.release(rule),
        note="refresh: a step plus one SVD per matrix, timed once per shape" if parts else "",
    )


def fused_adamw(problem: Problem) -> Variant:
    """`torch.optim.AdamW(fused=True)` on the same matrices, unprojected."""
    recipe = Recipe(lr=1e-3)
    parameters = problem.parameters()
    optimizer = torch.optim.AdamW(
        parameters,
        lr=recipe.lr,
        eps=recipe.eps,
        weight_decay=0.0,
        fused=True,
        capturable=problem.where.type == "cuda",
    )

    def check() -> str | None:
        truths = {i: PlainTruth(recipe, problem.weight(i), 0, True) for i in problem.checked()}
        for _ in range(2):
            optimizer.step()
            for i, truth in truths.items():
                truth.step(problem.grads[i])
        wrongs = (problem.compare(parameters[i], truth.weight, i) for i, truth in truths.items())
        return next(filter(None, wrongs), None)

    return Variant(
        "adamw-fused",
        optimizer.step,
        check,
        refreshless=True,
        # W, M and V are read and written and G read, all in the weight's dtype.
        bytes=7 * sum(grad.nbytes for grad in problem.grads),
        flops=0,
        backend="torch fused",
        note="dense AdamW, not the same mathematics" if problem.count else "",
    )


def pair(problem: Problem) -> Variant:
    """Both matrix products of the step alone, by `torch.mm(out=)` in the problem's dtype."""
    jobs = []
    for i, grad in enumerate(problem.grads[: problem.count]):
        m, n = grad.shape
        p, update = problem.cheap_basis(i), torch.empty_like(grad)
        if m >= n:
            r = grad.new_empty(m, problem.rank)
            jobs.append(((grad, p), r, (r, p.T), update))
        else:
            r = grad.new_empty(problem.rank, n)
            jobs.append(((p.T, grad), r, (p, r), update))

    def step() -> None:
        for down, r, up, update in jobs:
            torch.mm(*down, out=r)
            torch.mm(*up, out=update)

    def check() -> str | None:
        step()
        for i in problem.checked():
            if i >= problem.count:
                continue
            down, r, up, update = jobs[i]
            for (a, b), got in ((down, r), (up, update)):
                want = a.double() @ b.double()
                limit = 1e-5 if problem.dtype == "fp32" else 1e-2
                error = relative_error(got, want, torch.zeros_like(want))
                if error > limit:
                    return f"product: relative error must be <= {limit}, got {error:.2g}"
        return None

    touched = [(*down, r, *up, update) for down, r, up, update in jobs]
    return Variant(
        "pair",
        step,
        check,
        bytes=sum(tensor.nbytes for tensors in touched for tensor in tensors),
        note="the two matrix products alone, torch.mm(out=)",
    )
