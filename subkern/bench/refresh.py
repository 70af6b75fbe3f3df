"""What a warm refresh of the basis costs, beside an exact and a randomized SVD."""

from collections.abc import Callable
from functools import partial

import torch
from torch import Tensor

from subkern.bench.gradients import captured
from subkern.bench.llama_sets import Matrices
from subkern.bench.problem import Problem
from subkern.bench.registry import Case, Setup, Variant
from subkern.bench.targets import LEAST_ENERGY, Target
from subkern.bench.variants import attempt

OP = "refresh"
SHAPES = ((4096, 11008, 512),)
# An exact basis captures everything that a basis can.
EXACT = 0.9999
# Columns that the library's first SVD, which makes its workspace, is called with before the timing.
WARM_COLUMNS = 64


def refresh_flops(m: int, n: int, rank: int) -> int:
    """Two passes of X (X'P) and of its orthonormalization: a Gram matrix and a triangular solve."""
    from subkern.optim._basis import WARM_ITERATIONS

    k, r = min(m, n), min(rank, m, n)
    return WARM_ITERATIONS * (4 * m * n * r + 4 * k * r * r)


def refresh_bytes(m: int, n: int, rank: int, itemsize: int) -> int:
    """Each pass reads X twice and the basis, writes and reads X'P, and writes the new basis."""
    from subkern.optim._basis import WARM_ITERATIONS

    k, q = min(m, n), max(m, n)
    r = min(rank, k)
    return WARM_ITERATIONS * (2 * m * n + 2 * k * r + 2 * r * q) * itemsize


def _variant(
    name: str, problem: Problem, find: Callable[[], Tensor], least: float, once: bool, note: str
) -> Variant:
    """A way to find a basis; `find` returns it k x r, and what it captures is a fact."""
    found: list[Tensor] = []

    def step() -> None:
        found[:] = [find()]

    def check() -> str | None:
        if not found:
            step()
        if wrong := problem.orthonormal(lambda i: found[0]):
            return wrong
        share = captured(found[0], problem.streams[0], problem.index)
        variant.facts["energy"] = min(share, variant.facts.get("energy", share))
        if share < least:
            return f"basis: energy must be >= {least} of the best, got {share:.4f}"
        return None

    def drifted() -> None:
        step()
        check()

    variant = Variant(
        name,
        step,
        (lambda: None) if once else check,
        drifted=(lambda: None) if once else drifted,
        confirm=check,
        once=once,
        # The basis is a new tensor in each call.
        capturable=False,
        bytes=None if name == "subkern" else 0,
        flops=None if name == "subkern" else 0,
        note=note,
    )
    return variant


def setup(m: int, n: int, rank: int, dtype: str, where: str, quick: bool) -> Setup:
    """Warm refresh, exact SVD (once: it takes seconds), randomized SVD."""
    del quick
    problem = Problem(Matrices(((m, n),), (), rank), dtype, where)
    side = "right" if m >= n else "left"
    start = problem.cheap_basis(0)

    def gradient() -> Tensor:
        return problem.grads[0]

    def warm() -> Tensor:
        from subkern.optim._basis import refresh_basis

        bases, _ = refresh_basis("warm", gradient(), rank, side, [start], (0, 0, 1))
        return bases[0]

    def exact() -> Tensor:
        u, _, vh = torch.linalg.svd(gradient().float(), full_matrices=False)
        return u[:, :rank] if side == "left" else vh[:rank].T

    def randomized() -> Tensor:
        u, _, v = torch.svd_lowrank(gradient().float(), q=rank, niter=2)
        return u if side == "left" else v

    def make_exact() -> Variant:
        torch.linalg.svd(gradient()[:, :WARM_COLUMNS].float(), full_matrices=False)
        return _variant("linalg-svd", problem, exact, EXACT, True, "a single call was timed")

    return Setup(
        list(
            attempt(
                {
                    "subkern": lambda: _variant("subkern", problem, warm, LEAST_ENERGY, False, ""),
                    "svd-lowrank": lambda: _variant(
                        "svd-lowrank", problem, randomized, 0.0, False, "torch, niter=2"
                    ),
                    "linalg-svd": make_exact,
                }
            )
        ),
        ready=partial(problem.advance, 1),
    )


def cases(
    where: str = "cuda", shapes: tuple[tuple[int, int, int], ...] = SHAPES, dtype: str = "bf16"
) -> list[Case]:
    """One refresh of one matrix; the basis that the refresh starts from is one turn old."""
    itemsize = {"fp32": 4, "bf16": 2}[dtype]
    return [
        Case(
            name=f"{OP}-{m}x{n}-r{rank}-{dtype}",
            op=OP,
            shape=f"{m}x{n}",
            dtype=dtype,
            setup=partial(setup, m, n, rank, dtype, where),
            bytes=refresh_bytes(m, n, rank, itemsize),
            flops=refresh_flops(m, n, rank),
            targets=(Target("step", "linalg-svd", "speedup", 100.0),),
            rank=rank,
        )
        for m, n, rank in shapes
    ]
