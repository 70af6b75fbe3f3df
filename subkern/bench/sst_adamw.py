"""What the step of Sparse Spectral Training costs, beside the published rules in plain PyTorch.

Those keep singular vectors as columns of U (m x k) and V (n x k), as the texts write them, and
start where ours starts: at the gradients of the sampled vectors.
"""

import math
from collections.abc import Callable, Mapping, Sequence
from functools import partial
from typing import Any

import torch
from torch import Tensor

from subkern.bench import linalg
from subkern.bench.llama_sets import GPU_SETS
from subkern.bench.registry import Absent, Case, Setup, Variant, relative_error
from subkern.bench.targets import Budget, Target
from subkern.bench.variants import attempt

OP = "sst_adamw"
LR, BETA1, BETA2, EPS, DECAY, WARMUP = 1e-3, 0.9, 0.999, 1e-8, 0.01, 20
VALUES, VECTORS = 10.0, 4.0  # factors on the rate
TOLERANCE = 1e-3  # of what the first step moves, 2e-4 of a vector that is rounded to 6e-8
FLOOR = 3.0
# Layers (m, n) and the pairs sampled of each.
_LAYER = ((256, 256),) * 4 + ((688, 256),) * 2 + ((256, 688),)
PROBLEMS: dict[str, tuple[tuple[tuple[int, int], ...], int, float | None]] = {
    "1024x1024": (((1024, 1024),), 64, FLOOR),
    "1024x2736": (((1024, 2736),), 64, FLOOR),
    "tiny": (_LAYER * 4, 21, None),  # the example's model
}
# On an H100, with a twelfth of the width as the rank: layers, pairs, seconds.
GPU_PROBLEMS: dict[str, tuple[tuple[tuple[int, int], ...], int, float | None]] = {
    "4096x11008": (((4096, 11008),), 341, 90e-6),
    "llama-1b": (GPU_SETS["llama-1b"].matrices().projected, 170, 2.6e-3),
    "1024x1024": (((1024, 1024),), 64, None),
}


def step_bytes(layers: Sequence[tuple[int, int]], rank: int) -> int:
    """Gradients, moments and values read; moments and values written, vectors twice."""
    vectors = sum(rank * (m + n) for m, n in layers)
    return 4 * (8 * vectors + 7 * sum(map(min, layers)))


class Problem:
    """The lists of one step, as ours takes them; every competitor has its own."""

    def __init__(self, layers: Sequence[tuple[int, int]], rank: int, where: str) -> None:
        generator = torch.Generator().manual_seed(0)
        self.params: list[Tensor] = []
        self.tables: list[Tensor] = []
        self.sampled: list[Tensor] = []
        for m, n in layers:
            k = min(m, n)
            rows = torch.randperm(k, generator=generator)[:rank].to(where)
            self.params.append(torch.rand(k, generator=generator).to(where))
            for length in (m, n):
                drawn = torch.randn(k, length, generator=generator)
                table = torch.nn.functional.normalize(drawn, dim=1).to(where)
                self.tables.append(table)
                self.sampled.append(rows)
                self.params.append(table[rows])
        self.grads = [torch.randn(p.shape, generator=generator).to(where) for p in self.params]

    def lists(self, dtype: torch.dtype = torch.float32) -> list[list[Tensor]]:
        """Arguments of ``sst_adamw_``, copied."""
        params = [p.to(dtype, copy=True) for p in self.params]
        moments = [[torch.zeros_like(p) for p in params] for _ in range(2)]
        counts = [[torch.zeros((), device=p.device) for p in params] for _ in range(2)]
        tables = [t.to(dtype, copy=True) for t in self.tables]
        grads = [g.to(dtype) for g in self.grads]
        return [params, grads, *moments, *counts, tables, self.sampled]


def ours(lists: list[list[Tensor]], backend: str) -> None:
    """One call for all layers."""
    from subkern.ops import sst_adamw_

    options: dict[str, Any] = dict(betas=(BETA1, BETA2), eps=EPS, weight_decay=DECAY)
    options |= dict(value_scale=VALUES, vector_scale=VECTORS, warmup=WARMUP, backend=backend)
    step: Callable[..., None] = sst_adamw_
    step(*lists, lr=LR, **options)


def adam(g: Tensor, M: Tensor, V: Tensor, t: Tensor) -> Tensor:
    """Moments, and the corrected direction."""
    M.mul_(BETA1).add_(g, alpha=1 - BETA1)
    V.mul_(BETA2).addcmul_(g, g, value=1 - BETA2)
    return (M / (1 - BETA1**t)) / ((V / (1 - BETA2**t)).sqrt() + EPS)


def published(
    S: Tensor,
    sides: Sequence[tuple[Tensor, Tensor, Tensor, Tensor]],
    sampled: Tensor,
    dS: Tensor,
    M: Tensor,
    V: Tensor,
    t: Tensor,
) -> None:
    """The rules for one layer; ``sides`` are (vectors as columns, gradients, M, V)."""
    ramp = torch.clamp(t / WARMUP, max=1.0)
    for X, g, first, second in sides:
        moved = X[:, sampled] - LR * VECTORS * ramp * adam(g, first, second, t)
        X[:, sampled] = moved / moved.norm(dim=0, keepdim=True)
    S.mul_(1 - LR * VALUES * DECAY).sub_(LR * VALUES * adam(dS, M, V, t)).clamp_(min=0)


def plain(name: str, problem: Problem, step: Callable[..., None], truth: list[Tensor]) -> Variant:
    """The published rules, layer after layer."""
    layers = []
    for i, S in enumerate(problem.params[::3]):
        sides = []
        for j in (0, 1):
            g = problem.grads[3 * i + 1 + j].mT.contiguous()
            moments = (torch.zeros_like(g), torch.zeros_like(g))
            sides.append((problem.tables[2 * i + j].mT.contiguous(), g, *moments))
        dS, sampled = problem.grads[3 * i], problem.sampled[2 * i]
        values = S.clone()
        layers.append((values, sides, sampled, dS, torch.zeros_like(S), torch.zeros_like(S)))
    t = torch.zeros((), device=problem.params[0].device)

    def run() -> None:
        t.add_(1)
        for layer in layers:
            step(*layer, t)

    def results() -> list[Tensor]:
        found = []
        for S, sides, sampled, *_ in layers:
            found += [S, *(X[:, sampled].mT for X, *_ in sides)]
        return found

    return Variant(name, run, partial(verify, run, results, problem, truth))


def verify(
    run: Callable[[], None],
    results: Callable[[], list[Tensor]],
    problem: Problem,
    truth: list[Tensor],
) -> str | None:
    """Compare the first step with the reference in float64."""
    run()
    for i, (got, want, start) in enumerate(zip(results(), truth, problem.params, strict=True)):
        error = relative_error(got, want, start)
        if not error <= TOLERANCE or not math.isfinite(error):
            return f"params[{i}] is off by {error:.1e} of what the step moves"
    return None


def setup(layers: Sequence[tuple[int, int]], rank: int, where: str, quick: bool) -> Setup:
    """Ours, the published rules eagerly and compiled; on a CPU at one thread and at two."""
    problem = Problem(layers, rank, where)
    exact = problem.lists(torch.float64)
    ours(exact, "reference")
    small = Problem(((2, 2),), 1, where)
    backend, why = linalg.serving(lambda backend: ours(small.lists(), backend), where)

    def fused(name: str, **more: Any) -> Variant:
        lists = problem.lists()
        run = partial(ours, lists, backend)
        check = partial(verify, run, lambda: lists[0], problem, exact[0])
        return Variant(name, run, check, backend=backend, note=why, **more)

    def eager(name: str, step: Callable[..., None], **more: Any) -> Variant:
        variant = plain(name, problem, step, exact[0])
        for key, value in more.items():
            setattr(variant, key, value)
        return variant

    torch._dynamo.reset()  # forgets the shapes of the case before, of which it keeps eight
    made: dict[str, Callable[[], Variant | Absent]] = {}
    on_cpu = torch.device(where).type == "cpu"
    for threads in (1, 2) if on_cpu else (None,):
        more = {} if threads is None else {"threads": threads}
        end = "-2" if threads == 2 else ""
        made[f"subkern{end}"] = partial(fused, f"subkern{end}", **more)
        made[f"eager{end}"] = partial(eager, f"eager{end}", published, **more)
        step = torch.compile(published, dynamic=False)
        made[f"compiled{end}"] = partial(eager, f"compiled{end}", step, **more)
        if quick:
            made[f"compiled{end}"] = partial(Absent, f"compiled{end}", "left out by --quick")
    return Setup(list(attempt(made)))


def _case(
    name: str,
    layers: Sequence[tuple[int, int]],
    rank: int,
    where: str,
    floor: float | None = None,
    budget: float | None = None,
) -> Case:
    bounds: list[Target | Budget] = []
    if floor is not None:
        bounds += [Target("step", peer, "speedup", floor) for peer in ("eager", "compiled")]
    if budget is not None:
        bounds.append(Budget("step", budget))
    return Case(
        name=f"{OP}-{name}-r{rank}-fp32",
        op=OP,
        shape=name,
        dtype="fp32",
        setup=partial(setup, layers, rank, where),
        bytes=step_bytes(layers, rank),
        flops=0,
        rank=rank,
        targets=tuple(bounds),
    )


def cases() -> list[Case]:
    """One layer of a language model, and the example's whole model."""
    return [_case(n, layers, r, "cpu", floor) for n, (layers, r, floor) in PROBLEMS.items()]


def gpu_cases(where: str = "cuda", problems: Mapping[str, Any] = GPU_PROBLEMS) -> list[Case]:
    """A large layer, all layers of a model, and one whose launch is most of its time."""
    return [_case(n, layers, r, where, budget=t) for n, (layers, r, t) in problems.items()]
