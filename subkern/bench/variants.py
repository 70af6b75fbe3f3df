"""Our optimizers as competitors, on each backend, and how every competitor is verified.

Each holds its own weights and state on a `Problem`'s shared gradients.
"""

from collections.abc import Callable, Iterator, Mapping, Sequence
from functools import partial
from typing import Any

import torch
from torch import Tensor

from subkern.bench.gradients import captured
from subkern.bench.llama_sets import Matrices
from subkern.bench.problem import Problem
from subkern.bench.registry import Absent, Variant, forced_backend, nothing
from subkern.bench.truth import LowRankTruth, PlainTruth, Recipe

NEVER = 10**9
# What subkern tries on a device before its reference, in order.
PICKS = {"cpu": ("cpu",), "cuda": ("cuda", "triton")}


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
    made = groups(problem, parameters, "scale", recipe.scale)
    optimizer = kind(made, lr=recipe.lr, capturable=True)

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


def attempt(makers: Mapping[str, Callable[[], Variant | Absent]]) -> Iterator[Variant | Absent]:
    """Make every variant; one that cannot be made is an error of its own, not of the case.

    One at a time: nothing here holds on to a variant when the next one is asked for.
    """
    for name, make in makers.items():
        yield _made(name, make)


def _made(name: str, make: Callable[[], Variant | Absent]) -> Variant | Absent:
    try:
        return make()
    except torch.OutOfMemoryError as error:
        # The words alone: the error's frames hold on to what had been allocated.
        return Absent(name, f"does not fit: {str(error).partition('. ')[0]}")
    except Exception as error:
        return Variant(name, nothing, partial(_fail, error))


def _fail(error: Exception) -> str | None:
    raise error


def refusal(backend: str, dtype: str, where: str) -> str | None:
    """Why the backend cannot take a small step on this device, or None."""
    from subkern import BackendUnavailableError

    probe = Problem(Matrices(((16, 24),), (), 4), dtype, where)
    variant = ours(probe, "galore", Recipe(lr=0.0), backend, "probe")
    try:
        with variant.context():
            variant.step()
    except BackendUnavailableError as error:
        return str(error)
    return None


def serving(dtype: str, where: str = "cpu") -> tuple[str, str]:
    """The backend to time as ours, as subkern picks it, and why it is not a better one."""
    reasons: list[str] = []
    for backend in PICKS[torch.device(where).type]:
        if (reason := refusal(backend, dtype, where)) is None:
            return backend, "; ".join(reasons)
        reasons.append(f"no {backend} kernels: {reason}")
    return "reference", "; ".join(reasons)


def one_backend(problem: Problem, rule: str, recipe: Recipe, backend: str) -> Variant | Absent:
    """Ours on a backend by name, whether or not subkern would pick it."""
    if (reason := refusal(backend, problem.dtype, str(problem.where))) is not None:
        return Absent(backend, reason)
    return ours(problem, rule, recipe, backend, backend)
