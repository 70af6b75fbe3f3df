"""What the op of whole line solves costs: what cg_prox with row coupling reaches, without it."""

from __future__ import annotations

from functools import partial
from typing import Any

import torch

from subkern.bench import cg, krylov, linalg
from subkern.bench.accuracy import Error
from subkern.bench.krylov import Problem
from subkern.bench.registry import Case, Setup

OP = "sense_solve"
ROW = "row"
# Images, coils, rows, columns: the line solves of cg.
SHAPES = tuple(shape[:4] for shape in cg.SHAPES if shape[-1] == ROW)


def arguments(problem: Problem, backend: str) -> tuple[Any, ...]:
    """The op's tensors as CartesianSense makes them once; maps packed by the backend."""
    from subkern.ops.sense_normal import sense_pack

    weights = problem.shifted_mask[:, 0, 0].square().contiguous()
    packed = sense_pack(problem.maps, weights, backend=backend)
    gamma = torch.full((problem.images,), problem.gamma, device=problem.where)
    return problem.Aty, problem.z, problem.maps, weights, gamma, packed


def errors(exact: Any, found: Any) -> list[Error]:
    """Of x, the first of what the op returns."""
    return cg.errors(exact, found[0] if isinstance(found, tuple) else found)


def setup(shape: tuple[int, int, int, int], steps: int, where: str, quick: bool) -> Setup:
    """The op, the call that users make, torch written with care in one dimension and in two."""
    import subkern
    from subkern.ops.sense_solve import sense_solve

    del quick
    problem, small = Problem(*shape, True, where=where), Problem(1, 1, 2, 4, True, where=where)

    def ours(problem: Problem, backend: str) -> Any:
        tensors = arguments(problem, backend)
        return partial(sense_solve, *tensors, prox=True, maxiter=steps, backend=backend)

    backend, _ = linalg.serving(lambda backend: ours(small, backend)(), where)
    solve = ours(problem, backend)

    def public() -> Any:
        return subkern.cg_prox(
            problem.operator,
            problem.z,
            Aty=problem.Aty,
            gamma=problem.gamma,
            maxiter=steps,
            coupling=ROW,
            backend=backend,
        ).x

    return linalg.competitors(
        lambda backend: solve(),
        lambda backend: ours(small, backend)(),
        {
            "cg_prox": public,
            "lines": partial(krylov.solve, problem, krylov.lines(problem), steps, ROW),
            "cleaned": partial(krylov.solve, problem, krylov.cleaned(problem), steps, ROW),
        },
        partial(errors, krylov.truth(problem, steps, ROW)),
        where,
        two_threads=True,
        own=("cg_prox",),
        notes={"cg_prox": "ours as users call it"},
    )


def cases() -> list[Case]:
    """Whole solves; on a GPU those of cg are made of nothing else."""
    found = []
    for shape in SHAPES:
        images, coils, h, w = shape
        line = (*shape, True, ROW)
        found.append(
            Case(
                name=f"{OP}-{h}x{w}-c{coils}-b{images}",
                op=OP,
                shape=f"{h}x{w}",
                dtype="fp32",
                setup=partial(setup, shape, cg.STEPS, "cpu"),
                bytes=cg.traffic(line, cg.STEPS),
                flops=cg.operations(line, cg.STEPS),
                batch=images,
            )
        )
    return found
