"""The competitors of a low-rank step: ours, the published packages, eager, compiled, dense, pair.

Each holds its own weights and state on a `Problem`'s shared gradients.
"""

from collections.abc import Callable, Mapping, Sequence
from functools import partial
from typing import Any

import torch
from torch import Tensor

from subkern.bench import peers
from subkern.bench.gradients import captured
from subkern.bench.llama_sets import Matrices
from subkern.bench.problem import Problem
from subkern.bench.registry import Absent, Variant, forced_backend, nothing, relative_error
from subkern.bench.truth import LowRankTruth, PlainTruth, Recipe

NEVER = 10**9


def verify(
    problem: Problem,
    rule: str,
    recipe: Recipe,
    calls: Sequence[Callable[[], object]],
    weight: Callable[[int], Tensor],
    basis: Callable[[int], Tensor],
    t: int = 0,
) -> str | None:
    """Make `calls`, following each in fp64 with the basis that the variant used.

    Returns:
        None when weights and bases are right, else what is wrong.
    """
    truths: dict[int, Any] = {}
    for i in problem.checked():
        if i < problem.count:
            truths[i] = LowRankTruth(rule, recipe, problem.weight(i), problem.rank, t)
        else:
            truths[i] = PlainTruth(recipe, problem.weight(i), t)
    for call in calls:
        call()
        for i, truth in truths.items():
            bases = (basis(i),) if i < problem.count else ()
            truth.step(problem.grads[i], *bases)
    if problem.count and (wrong := problem.orthonormal(basis)):
        return wrong
    wrongs = (problem.compare(weight(i), truth.weight, i) for i, truth in truths.items())
    return next(filter(None, wrongs), None)


def energy(problem: Problem, basis: Callable[[int], Tensor]) -> float:
    """The least captured energy of the checked matrices, relative to the best basis of the rank."""
    return min(
        captured(basis(i), problem.streams[i], problem.index)
        for i in problem.checked()
        if i < problem.count
    )


def groups(problem: Problem, parameters: Sequence[Tensor], scale_key: str, scale: float) -> list:
    """Parameter groups as a user of the published packages writes them."""
    made: list[dict[str, Any]] = []
    if parameters[problem.count :]:
        made.append({"params": list(parameters[problem.count :])})
    if problem.count:
        made.append(
            {
                "params": list(parameters[: problem.count]),
                "rank": problem.rank,
                "update_proj_gap": NEVER,
                scale_key: scale,
                "proj_type": "std",
            }
        )
    return made


def ours(
    problem: Problem, rule: str, recipe: Recipe, backend: str, name: str, note: str = ""
) -> Variant:
    """`subkern.optim` on one of its backends, with its default basis."""
    from subkern import optim

    kind = {"galore": optim.GaLoreAdamW, "fira": optim.FiraAdamW}[rule]
    parameters = problem.parameters()
    optimizer = kind(groups(problem, parameters, "scale", recipe.scale), lr=recipe.lr)

    def refresh() -> None:
        # With a gap of one every call is due; the price of the switch is nanoseconds.
        group = optimizer.param_groups[-1]
        group["update_proj_gap"] = 1
        optimizer.step()
        group["update_proj_gap"] = NEVER

    def basis(i: int) -> Tensor:
        return optimizer.state[parameters[i]]["basis"]

    def check() -> str | None:
        calls = [refresh if problem.count else optimizer.step, optimizer.step]
        wrong = verify(problem, rule, recipe, calls, parameters.__getitem__, basis)
        if wrong is None and problem.count:
            variant.facts["energy"] = energy(problem, basis)
        return wrong

    def drifted() -> None:
        refresh()
        variant.facts["energy"] = min(variant.facts["energy"], energy(problem, basis))

    variant = Variant(
        name,
        optimizer.step,
        check,
        refresh=refresh if problem.count else None,
        drifted=drifted if problem.count else nothing,
        backend=backend,
        note=note,
        context=lambda: forced_backend(backend),
    )
    return variant


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
        backend=peers.release(rule),
        note="refresh: a step plus one SVD per matrix, timed once per shape" if parts else "",
    )


def fused_adamw(problem: Problem) -> Variant:
    """`torch.optim.AdamW(fused=True)` on the same matrices, unprojected."""
    recipe = Recipe(lr=1e-3)
    parameters = problem.parameters()
    optimizer = torch.optim.AdamW(
        parameters, lr=recipe.lr, eps=recipe.eps, weight_decay=0.0, fused=True
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
            r = torch.empty(m, problem.rank, dtype=grad.dtype)
            jobs.append(((grad, p), r, (r, p.T), update))
        else:
            r = torch.empty(problem.rank, n, dtype=grad.dtype)
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


def attempt(makers: Mapping[str, Callable[[], Variant | Absent]]) -> list[Variant | Absent]:
    """Make every variant; one that cannot be made is an error of its own, not of the case."""
    made: list[Variant | Absent] = []
    for name, make in makers.items():
        try:
            made.append(make())
        except Exception as error:
            made.append(Variant(name, nothing, partial(_fail, error)))
    return made


def _fail(error: Exception) -> str | None:
    raise error


def serving(dtype: str) -> tuple[str, str]:
    """The backend to time as ours, and why it is not the CPU kernels if it is not."""
    from subkern import BackendUnavailableError

    probe = Problem(Matrices(((16, 24),), (), 4), dtype)
    variant = ours(probe, "galore", Recipe(lr=0.0), "cpu", "probe")
    try:
        with variant.context():
            variant.step()
    except BackendUnavailableError as error:
        return "reference", f"no CPU kernels: {error}"
    return "cpu", ""
