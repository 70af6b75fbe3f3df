"""What a refresh of a projector costs, beside torch.svd_lowrank and an exact SVD.

The gradient drifts; the basis that a warm step starts from has followed it for `FOLLOWED` steps.
"""

from collections.abc import Callable, Sequence
from functools import lru_cache, partial
from typing import Any

import torch
from torch import Tensor

from subkern.bench.accuracy import Error, orthonormality
from subkern.bench.gallery import drifting
from subkern.bench.linalg import ITEMSIZE, competitor, serving
from subkern.bench.registry import DTYPES, Absent, Case, Setup, Variant
from subkern.bench.targets import Budget, Target
from subkern.bench.variants import attempt
from subkern.diagnostics import captured_energy

OP = "topk_subspace"
DRIFTS = (0.1, 0.5, 1.0)
SHAPES = ((1024, 2736, 256), (2048, 5461, 256))
FOLLOWED = 9
# Over torch.linalg.svd and torch.svd_lowrank(niter=2) where the drift is small. They hold at no
# less energy than the latter's: for as many iterations as that takes.
FLOORS = {"linalg-svd": 30.0, "svd-lowrank": 3.0}
FLOOR_DRIFT = 0.1
MATCHED = "subkern-matched"
MOST_ITERATIONS = 8
# On an H100 in bfloat16: rows, columns, rank, drift, seconds.
GPU_SHAPES: tuple[tuple[int, int, int, float, float | None], ...] = (
    (4096, 11008, 256, 0.1, 200e-6),
    (4096, 11008, 128, 0.1, 150e-6),
    (4096, 11008, 512, 0.1, 350e-6),
    (4096, 11008, 1024, 0.1, 900e-6),
    (4096, 11008, 256, 0.5, None),
    (4096, 11008, 256, 1.0, None),
    *((m, n, r, drift, None) for m, n, r in SHAPES for drift in DRIFTS),
)
GPU_EXACT = ((4096, 11008, 256),)
EXACT_OVER = 1.2
# An SVD of more elements is timed once per shape: it takes seconds.
LONG_SVD = 2**24
# The baselines measure no energy; ours measures its start's, which costs nothing.
ENERGY = "return_energy='start'"
MORE_ENERGY = "return_energy=True, the default: one more product"


def iterate_cost(m: int, n: int, rank: int, dtype: str) -> tuple[int, int]:
    """Bytes and FLOPs of one iteration: G read twice, Z and Y written and read, the basis.

    Two products of 2 m n r FLOPs; the orthonormalization, at another rate, has cases of its own.
    """
    k, q = min(m, n), max(m, n)
    r = min(rank, k)
    nbytes = (2 * m * n + 2 * q * r + 2 * k * r) * ITEMSIZE[dtype]
    return nbytes, 4 * m * n * r


@lru_cache(maxsize=3)
def gradients(m: int, n: int, drift: float) -> tuple[Tensor, ...]:
    """The gradients that the basis follows, and the one of the timing."""
    return tuple(drifting(m, n, drift, count=FOLLOWED + 1))


@lru_cache(maxsize=8)
def _best(m: int, n: int, drift: float, rank: int, where: str, kind: torch.dtype) -> float:
    """Energy of the best basis, by the eigenvalues of the Gram matrix in float64."""
    G = gradients(m, n, drift)[-1].to(where, kind).double()
    short = G if m <= n else G.mT
    values = torch.linalg.eigvalsh(short @ short.mT)
    return (values[-rank:].sum() / values.sum()).item()


def _basis(result: Any) -> Tensor:
    return result if isinstance(result, Tensor) else result.basis


class _Problem:
    """One gradient, the basis from before it, and what bases of it are worth."""

    def __init__(self, m: int, n: int, rank: int, drift: float, dtype: str, where: str) -> None:
        self.kind, self.rank = DTYPES[dtype], rank
        self.grads = [g.to(where, self.kind) for g in gradients(m, n, drift)]
        self.G = self.grads[-1]
        self.left = m <= n
        self.best = _best(m, n, drift, rank, where, self.kind)
        self.side = "left" if self.left else "right"

    def energy(self, basis: Tensor) -> float:
        """Captured, relative to the best basis of the rank."""
        short = self.G if self.left else self.G.mT
        # Of the span: a basis may be off orthonormal by its own rounding.
        span = torch.linalg.qr(basis.double())[0]
        return captured_energy(short, span).item() / self.best

    def measured(self, result: Any, variant: Variant) -> None:
        """Leave the energy with the variant."""
        variant.facts["energy"] = self.energy(_basis(result))

    def errors(self, result: Any) -> list[Error]:
        """Only the basis itself can be wrong; how good it is says its energy."""
        return [orthonormality("orth", _basis(result))]

    def svd(self) -> Tensor:
        """The exact basis."""
        U, _, Vh = torch.linalg.svd(self.G.float(), full_matrices=False)
        return U[:, : self.rank] if self.left else Vh[: self.rank].mT

    def lowrank(self) -> Tensor:
        """The randomized one of torch."""
        torch.manual_seed(0)
        U, _, V = torch.svd_lowrank(self.G.float(), q=self.rank, niter=2)
        return U if self.left else V

    def eigh(self) -> Tensor:
        """The exact one through the Gram matrix."""
        short = self.G if self.left else self.G.mT
        G = torch.mm(short, short.mT).float()
        return torch.linalg.eigh(G)[1][:, -self.rank :]


def _followed(problem: _Problem, backend: str) -> Tensor:
    """The basis after a cold start and one warm step per gradient but the last."""
    import subkern

    basis: Tensor | None = None
    for G in problem.grads[:-1]:
        found = subkern.topk_subspace(
            G, problem.rank, side=problem.side, q_prev=basis, relax=basis is not None,
            backend=backend,
        )  # fmt: skip
        basis = found.basis
    assert basis is not None
    return basis


def iterations_to(problem: _Problem, q_prev: Tensor, backend: str, energy: float) -> int:
    """Warm iterations until the energy is no less than `energy`; 0 where all are not enough."""
    import subkern

    for count in range(1, MOST_ITERATIONS + 1):
        found = subkern.topk_subspace(
            problem.G, problem.rank, side=problem.side, mode="iterate", q_prev=q_prev,
            iters=count, relax=True, backend=backend,
        )  # fmt: skip
        if problem.energy(found.basis) >= energy:
            return count
    return 0


def _backend(problem: _Problem, where: str) -> tuple[str, str]:
    import subkern

    probe = problem.G[:32, :40].contiguous()
    return serving(lambda backend: subkern.topk_subspace(probe, 4, backend=backend), where)


def _variants(
    problem: _Problem, where: str, long_svd: bool
) -> dict[str, Callable[[], Variant | Absent]]:
    import subkern

    backend, why = _backend(problem, where)
    q_prev = _followed(problem, backend)
    on_cpu = torch.device(where).type == "cpu"
    one: dict[str, Any] = {"threads": 1} if on_cpu else {}
    options: dict[str, Any] = {"side": problem.side, "backend": backend}

    def warm(iters: int, energy: bool | str = "start") -> Any:
        return subkern.topk_subspace(
            problem.G, problem.rank, mode="iterate", q_prev=q_prev, iters=iters,
            relax=True, return_energy=energy, **options,
        )  # fmt: skip

    def ours(
        name: str, iters: int, note: str = "", energy: bool | str = "start", **more: Any
    ) -> Variant:
        return competitor(
            name, partial(warm, iters, energy), problem.errors, held=True,
            measured=problem.measured, backend=backend, note=note, **more,
        )  # fmt: skip

    def peer(name: str, call: Callable[[], Tensor], **more: Any) -> Variant:
        return competitor(
            name, call, problem.errors, measured=problem.measured, capturable=False, **one, **more
        )

    def matched() -> Variant | Absent:
        count = iterations_to(problem, q_prev, backend, problem.energy(problem.lowrank()))
        if not count:
            reason = f"{MOST_ITERATIONS} iterations capture less than svd-lowrank"
            return Absent(MATCHED, reason)
        return ours(MATCHED, count, f"iterations to match svd-lowrank: {count}", **one)

    made: dict[str, Callable[[], Variant | Absent]] = {
        "subkern": partial(ours, "subkern", 1, "; ".join(filter(None, (ENERGY, why))), **one),
        "subkern-energy": partial(ours, "subkern-energy", 1, MORE_ENERGY, True, **one),
        "svd-lowrank": partial(peer, "svd-lowrank", problem.lowrank, note="torch, niter=2"),
        "linalg-svd": partial(peer, "linalg-svd", problem.svd, once=True, note="a single call"),
        "gram-eigh": partial(peer, "gram-eigh", problem.eigh, once=True, note="a single call"),
        MATCHED: matched,
    }
    if not long_svd:
        for name in ("linalg-svd", "gram-eigh"):
            made[name] = partial(Absent, name, "timed at the first rank and drift: seconds")
    if on_cpu:
        made["subkern-2"] = partial(ours, "subkern-2", 1, threads=2)
    return made


def setup(
    m: int, n: int, rank: int, drift: float, dtype: str, where: str, long_svd: bool, quick: bool
) -> Setup:
    """One warm iteration, as many as match svd_lowrank, that, and the two exact ways."""
    del quick
    problem = _Problem(m, n, rank, drift, dtype, where)
    return Setup(list(attempt(_variants(problem, where, long_svd))))


def exact_setup(m: int, n: int, rank: int, dtype: str, where: str, quick: bool) -> Setup:
    """mode="exact", beside the Gram matrix and torch's eigh of it, each timed once."""
    import subkern

    del quick
    problem = _Problem(m, n, rank, DRIFTS[0], dtype, where)
    backend, why = _backend(problem, where)

    def exact() -> Any:
        return subkern.topk_subspace(
            problem.G, rank, side=problem.side, mode="exact", backend=backend
        )

    more: dict[str, Any] = {"once": True, "measured": problem.measured}
    torch.linalg.eigh(torch.eye(64, device=where))  # the library's workspace
    return Setup(
        [
            competitor(
                "subkern", exact, problem.errors, held=True, backend=backend, note=why, **more
            ),
            competitor("gram-eigh", problem.eigh, problem.errors, **more),
        ]
    )


def _case(
    m: int, n: int, rank: int, drift: float, dtype: str, where: str, budget: float | None
) -> Case:
    bounds: list[Target | Budget] = []
    if drift == FLOOR_DRIFT:
        bounds = [
            Target("step", name, "speedup", floor, variant=MATCHED)
            for name, floor in FLOORS.items()
        ]
    if budget is not None:
        bounds.append(Budget("step", budget))
    nbytes, flops = iterate_cost(m, n, rank, dtype)
    long_svd = m * n <= LONG_SVD or (drift == FLOOR_DRIFT and rank == SHAPES[0][2])
    return Case(
        name=f"{OP}-warm-{m}x{n}-r{rank}-drift{drift:g}-{dtype}",
        op=OP,
        shape=f"{m}x{n}",
        dtype=dtype,
        setup=partial(setup, m, n, rank, drift, dtype, where, long_svd),
        bytes=nbytes,
        flops=flops,
        targets=tuple(bounds),
        rank=rank,
        energy_against=("svd-lowrank",) if drift == FLOOR_DRIFT else None,
        energy_variant=MATCHED,
    )


def _exact(m: int, n: int, rank: int, dtype: str, where: str) -> Case:
    k = min(m, n)
    return Case(
        name=f"{OP}-exact-{m}x{n}-r{rank}-{dtype}",
        op=OP,
        shape=f"{m}x{n}",
        dtype=dtype,
        setup=partial(exact_setup, m, n, rank, dtype, where),
        bytes=m * n * ITEMSIZE[dtype] + 8 * k * k,
        flops=k * k * max(m, n),
        targets=(Target("step", "gram-eigh", "over", EXACT_OVER),),
        rank=rank,
    )


def cases() -> list[Case]:
    """Two sizes of a language model's matrices at three speeds of drift."""
    return [
        _case(m, n, rank, drift, "fp32", "cpu", None) for m, n, rank in SHAPES for drift in DRIFTS
    ]


def gpu_cases(
    where: str = "cuda",
    shapes: Sequence[tuple[int, int, int, float, float | None]] = GPU_SHAPES,
    exact: Sequence[tuple[int, int, int]] = GPU_EXACT,
) -> list[Case]:
    """In bfloat16: four ranks, three drifts, three sizes, and one exact basis."""
    made = [_case(m, n, r, drift, "bf16", where, budget) for m, n, r, drift, budget in shapes]
    return [*made, *(_exact(m, n, r, "bf16", where) for m, n, r in exact)]
