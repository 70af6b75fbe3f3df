"""What AdamW on a tenth of the weights costs, beside a boolean mask and a dense step."""

from collections.abc import Callable
from functools import partial
from typing import Any, Self

import torch
from torch import Tensor

from subkern.bench import linalg
from subkern.bench.accuracy import Error
from subkern.bench.linalg import ITEMSIZE, SECOND_THREAD
from subkern.bench.registry import DTYPES, Absent, Case, Setup, Variant
from subkern.bench.targets import Budget, Target
from subkern.bench.variants import attempt

OP = "packed_adamw"
SHAPE, DENSITY = (2000, 4000), 0.1
LR, BETAS, EPS, DECAY = 1e-3, (0.9, 0.999), 1e-8, 1e-2
SPEEDUP = 5.0
# Of the update, one step from zero moments: in float32 and as bfloat16 stores the weights.
BOUNDS = {"fp32": 1e-3, "bf16": 0.5}
LINES = {"cpu": 64, "cuda": 32}  # bytes that memory moves at once
GPU_BUDGET = 40e-6  # seconds on an H100, fp32: 1.6 times its bytes at 3 TB/s


class Problem:
    """Weights, a gradient and a random mask, shared; states are each competitor's own."""

    def __init__(
        self, shape: tuple[int, int], density: float, dtype: str, where: str = "cpu"
    ) -> None:
        generator = torch.Generator().manual_seed(sum(shape))
        self.weight, self.grad = (
            (scale * torch.randn(shape, generator=generator)).to(where, DTYPES[dtype])
            for scale in (0.02, 1e-2)
        )
        self.mask = (torch.rand(shape, generator=generator) < density).to(where)
        self.at = self.mask.flatten().nonzero()[:, 0]
        self.dtype = dtype

    def state(self) -> Tensor:
        """Zeros, one for each listed entry."""
        return torch.zeros(self.at.shape, device=self.at.device)

    def truth(self, steps: int) -> Tensor:
        """The weights after so many steps on the same gradient, in float64."""
        w, g = self.weight.double(), self.grad.double()
        m, v = torch.zeros_like(w), torch.zeros_like(w)
        for t in range(1, steps + 1):
            m, v = BETAS[0] * m + (1 - BETAS[0]) * g, BETAS[1] * v + (1 - BETAS[1]) * g * g
            root = (v / (1 - BETAS[1] ** t)).sqrt() + EPS
            w = w * (1 - LR * DECAY) - LR / (1 - BETAS[0] ** t) * m / root
        return torch.where(self.mask, w, self.weight.double())


class Ours:
    """The op; `own` gives each entry its own step count."""

    def __init__(self, problem: Problem, backend: str, own: bool = False) -> None:
        self.problem, self.backend, self.steps = problem, backend, 0
        self.w = problem.weight.clone()
        self.m, self.v = problem.state(), problem.state()
        self.t = problem.state() if own else torch.zeros((), device=problem.at.device)

    def __call__(self) -> Self:
        """One step."""
        from subkern.ops import packed_adamw_

        lists = (self.w, self.problem.grad, self.problem.at, self.m, self.v, self.t)
        packed_adamw_(
            *([x] for x in lists), lr=LR, betas=BETAS, eps=EPS, weight_decay=DECAY,
            backend=self.backend,
        )  # fmt: skip
        self.steps += 1
        return self


class Masked:
    """Torch on what a boolean mask takes out and puts back."""

    def __init__(self, problem: Problem) -> None:
        self.problem, self.steps = problem, 0
        self.w = problem.weight.clone()
        self.m, self.v = problem.state(), problem.state()

    def __call__(self) -> Self:
        """One step."""
        self.steps += 1
        mask, t = self.problem.mask, self.steps
        w, g = self.w[mask].float(), self.problem.grad[mask].float()
        w.mul_(1 - LR * DECAY)
        self.m.lerp_(g, 1 - BETAS[0])
        self.v.mul_(BETAS[1]).addcmul_(g, g, value=1 - BETAS[1])
        root = self.v.sqrt().div_((1 - BETAS[1] ** t) ** 0.5).add_(EPS)
        w.addcdiv_(self.m, root, value=-LR / (1 - BETAS[0] ** t))
        self.w[mask] = w.to(self.w.dtype)
        return self


class Restored:
    """Torch's fused AdamW on everything; what is outside the mask is put back."""

    def __init__(self, problem: Problem) -> None:
        self.problem, self.steps = problem, 0
        self.start = problem.weight.clone()
        self.parameter = torch.nn.Parameter(problem.weight.clone())
        self.optimizer = torch.optim.AdamW(
            [self.parameter], lr=LR, betas=BETAS, eps=EPS, weight_decay=DECAY, fused=True
        )
        self.parameter.grad = problem.grad

    def __call__(self) -> Self:
        """One step."""
        self.steps += 1
        self.optimizer.step()
        with torch.no_grad():
            torch.where(self.problem.mask, self.parameter, self.start, out=self.parameter.data)
        return self

    @property
    def w(self) -> Tensor:
        """The weights."""
        return self.parameter.detach()


def errors(problem: Problem, state: Ours | Masked | Restored) -> list[Error]:
    """Error of the listed entries over their update, and entries that should not have moved."""
    truth, mask = problem.truth(state.steps), problem.mask
    missed = torch.linalg.vector_norm((state.w.double() - truth)[mask])
    moved = torch.linalg.vector_norm((truth - problem.weight.double())[mask])
    strays = (state.w != problem.weight)[~mask].sum()
    return [
        Error("update", (missed / moved).item(), BOUNDS[problem.dtype]),
        Error("strays", float(strays), 0.0),
    ]


def setup(shape: tuple[int, int], density: float, dtype: str, where: str, quick: bool) -> Setup:
    """Ours with one and with many step counts, masked, and dense with the rest put back."""
    del quick
    problem = Problem(shape, density, dtype, where)
    small = Problem((4, 5), 0.5, dtype, where)
    backend, why = linalg.serving(lambda backend: Ours(small, backend)(), where)
    kinds: dict[str, Callable[[], Ours | Masked | Restored]] = {
        "subkern": partial(Ours, problem, backend),
        "subkern-own-counts": partial(Ours, problem, backend, own=True),
        "masked": partial(Masked, problem),
        "restored": partial(Restored, problem),
    }

    def variant(name: str, kind: str, **more: Any) -> Variant:
        ours = kind in ("subkern", "subkern-own-counts")
        return linalg.competitor(
            name, kinds[kind](), partial(errors, problem), held=ours, capturable=ours,
            backend=backend if ours else "torch", note=why if ours else "", **more,
        )  # fmt: skip

    counts: dict[str, dict[str, Any]] = {"": {"threads": 1}, "-2": {"threads": 2}}
    if torch.device(where).type != "cpu":
        counts = {"": {}}
    made: dict[str, Callable[[], Variant | Absent]] = {
        kind + end: partial(variant, kind + end, kind, **more)
        for end, more in counts.items()
        for kind in kinds
    }
    return Setup(list(attempt(made)))


def cost(shape: tuple[int, int], density: float, dtype: str, where: str = "cpu") -> int:
    """Bytes: indices and moments of the listed entries; W twice and G, by the lines they touch."""
    n, size = shape[0] * shape[1], ITEMSIZE[dtype]
    touched = 1 - (1 - density) ** (LINES[torch.device(where).type] // size)
    return round(density * n * (8 + 4 * 4) + 3 * n * size * touched)


def _case(dtype: str, where: str, bounds: tuple[Target | Budget, ...]) -> Case:
    m, n = SHAPE
    return Case(
        name=f"{OP}-{m}x{n}-d{round(100 * DENSITY)}-{dtype}",
        op=OP,
        shape=f"{m}x{n}",
        dtype=dtype,
        setup=partial(setup, SHAPE, DENSITY, dtype, where),
        bytes=cost(SHAPE, DENSITY, dtype, where),
        flops=0,
        targets=bounds,
    )


def cases() -> list[Case]:
    """A tenth of 8 million weights."""
    bounds = (
        Target("step", "masked", "speedup", SPEEDUP),
        Target("step", "restored", "speedup", 1.0),
        Target("step", "subkern", "speedup", SECOND_THREAD, variant="subkern-2"),
    )
    return [_case(dtype, "cpu", bounds) for dtype in ITEMSIZE]


def gpu_cases(where: str = "cuda") -> list[Case]:
    """The same on a GPU; float32 has a budget."""
    budgets = {"fp32": (Budget("step", GPU_BUDGET),)}
    return [_case(dtype, where, budgets.get(dtype, ())) for dtype in ITEMSIZE]
