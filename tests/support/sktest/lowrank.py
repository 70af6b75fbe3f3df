"""Problems for the low-rank Adam step: well-conditioned inputs, the fp64 truth, comparisons."""

from __future__ import annotations

from dataclasses import dataclass, field, replace

import torch
from torch import Tensor

from sktest.backends import GPU_BACKENDS, device_of
from sktest.guard import Guard
from sktest.tolerance import assert_close
from subkern.backends.cpu import products
from subkern.ops import lowrank_adam_

WRITTEN = ("params", "exp_avgs", "exp_avg_sqs", "steps", "skipped", "limiters")
READ = ("grads", "bases", "bases_right")

# Large enough that a wrong update is far from a wrong rounding of the weight.
OPTIONS = dict(lr=0.5, betas=(0.9, 0.99), eps=1e-3, weight_decay=0.1, scale=0.25)


def orthonormal(k: int, r: int, generator: torch.Generator) -> Tensor:
    """k x r with orthonormal columns, float64."""
    return torch.linalg.qr(torch.randn(k, r, generator=generator, dtype=torch.float64))[0]


@dataclass
class Problem:
    """Arguments of one call of lowrank_adam_."""

    side: str
    rule: str
    params: list[Tensor] = field(default_factory=list)
    grads: list[Tensor] = field(default_factory=list)
    bases: list[Tensor] = field(default_factory=list)
    exp_avgs: list[Tensor] = field(default_factory=list)
    exp_avg_sqs: list[Tensor] = field(default_factory=list)
    steps: list[Tensor] = field(default_factory=list)
    skipped: list[Tensor] = field(default_factory=list)
    limiters: list[Tensor] = field(default_factory=list)
    bases_right: list[Tensor] = field(default_factory=list)

    @property
    def lists(self) -> dict[str, list[Tensor]]:
        return {name: getattr(self, name) for name in (*WRITTEN, *READ)}

    def mapped(self, function, names=(*WRITTEN, *READ)) -> Problem:
        """A problem with ``function`` applied to every tensor of the named lists."""
        changed = {name: [function(t) for t in getattr(self, name)] for name in names}
        return replace(self, **changed)

    def clone(self) -> Problem:
        """A copy that keeps every stride."""
        return self.mapped(lambda t: t.clone())

    def double(self) -> Problem:
        """The same problem in float64; scalars stay float32, as the contract wants."""
        copy = self.clone()
        names = ("params", "grads", "bases", "bases_right", "exp_avgs", "exp_avg_sqs")
        return copy.mapped(lambda t: t.double(), names)

    def part(self, index: slice) -> Problem:
        """Some parameters of the list, sharing memory."""
        return replace(self, **{name: tensors[index] for name, tensors in self.lists.items()})

    def guarded(self, guard: Guard, layout: str) -> Problem:
        """The same values in guarded buffers, parameters and gradients in the given layout."""
        moved = self.mapped(lambda t: guard.view(t, layout), ("params", "grads"))
        return moved.mapped(guard.view, ("bases", "bases_right", *WRITTEN[1:]))

    def step(self, backend: str | None, **options) -> None:
        lowrank_adam_(
            self.params,
            self.grads,
            self.bases,
            self.exp_avgs,
            self.exp_avg_sqs,
            self.steps,
            self.skipped,
            self.limiters,
            self.bases_right,
            side=self.side,
            rule=self.rule,
            backend=backend,
            **{**OPTIONS, **options},
        )

    def grow(self, factor: float) -> None:
        """Larger gradients for the next step, so that Fira's limiter fires."""
        for grad in self.grads:
            grad.mul_(factor)

    def intermediate(self, backend: str | None) -> torch.dtype | None:
        """Narrowest dtype of a backend's intermediate results, if narrower than float32."""
        m, n = self.params[0].shape
        dtype, rank = self.params[0].dtype, self.bases[0].shape[1]
        if backend == "reference":
            return None
        if backend in GPU_BACKENDS:  # the operands of their second product
            return None if dtype == torch.float32 else dtype
        if self.rule == "fira" and self.bases[0].dtype == torch.bfloat16:
            # The fused residual norm takes P^T P = I, which a bfloat16 basis holds to its rounding.
            return torch.bfloat16
        found = products.scratch_dtype(dtype, m, n, rank)
        return None if found == torch.float32 else found


def _gradient(m, n, P, Q, side, generator) -> Tensor:
    """A gradient whose projection has entries in [0.5, 1.5] and whose residual is 0.7 of it.

    Random R has entries near zero, where N = M / (sqrt(V) + eps) turns rounding into sign flips.
    """

    def back(N):
        if side == "right":
            return N @ P.T
        return P @ N if Q is None else P @ N @ Q.T

    rank = P.shape[1]
    shape = {"left": (rank, n), "right": (m, rank), "full": (rank, rank)}[side]
    core = torch.rand(shape, generator=generator, dtype=torch.float64) + 0.5
    core *= torch.randint(0, 2, shape, generator=generator) * 2 - 1
    noise = torch.randn(m, n, generator=generator, dtype=torch.float64)
    inside = noise @ P if side == "right" else P.T @ noise if Q is None else P.T @ noise @ Q
    noise -= back(inside)
    axis = {"left": 0, "right": 1, "full": (0, 1)}[side]
    norm_core = torch.linalg.vector_norm(back(core), dim=axis, keepdim=True)
    norm = torch.linalg.vector_norm(noise, dim=axis, keepdim=True)
    spans = {"left": rank == m, "right": rank == n, "full": rank == m == n}[side]
    residual = torch.zeros_like(noise) if spans else 0.7 * noise * norm_core / norm
    return back(core) + residual


def make(
    m: int,
    n: int,
    rank: int,
    side: str = "left",
    rule: str = "galore",
    dtype: torch.dtype = torch.float32,
    count: int = 1,
    seed: int = 0,
    moment_dtype: torch.dtype | None = None,
    backend: str | None = None,
) -> Problem:
    """A problem before its first step (zero moments and counters), on the backend's device."""
    generator = torch.Generator().manual_seed(seed)
    wide = torch.float64 if dtype == torch.float64 else torch.float32
    problem = Problem(side, rule)
    for _ in range(count):
        P = orthonormal(n if side == "right" else m, rank, generator)
        Q = orthonormal(n, rank, generator) if side == "full" else None
        shape = {"left": (rank, n), "right": (m, rank), "full": (rank, rank)}[side]
        problem.params.append(torch.randn(m, n, generator=generator).to(dtype))
        problem.grads.append(_gradient(m, n, P, Q, side, generator).to(dtype))
        problem.bases.append(P.to(dtype))
        if Q is not None:
            problem.bases_right.append(Q.to(dtype))
        for moment in (problem.exp_avgs, problem.exp_avg_sqs):
            moment.append(torch.zeros(shape, dtype=moment_dtype or wide))
        for scalar in (problem.steps, problem.skipped):
            scalar.append(torch.zeros(()))
        if rule == "fira":
            problem.limiters.append(torch.zeros(()))
    return problem.mapped(lambda t: t.to(device_of(backend)))


def compare(got: Problem, exact: Problem, before: Problem, backend: str | None = None):
    """Every written tensor against the fp64 truth; ``before`` holds what the step started from."""
    if not got.params:
        return
    m, n = got.params[0].shape
    intermediate = dict.fromkeys(WRITTEN, got.intermediate(backend))
    if backend in GPU_BACKENDS and got.side != "full":
        # Rounded operands reach the weights alone: R enters the moments as it was summed.
        intermediate |= dict.fromkeys(("exp_avgs", "exp_avg_sqs"))
    # Products sum over m, n and the rank; the norm in the limiter over the whole matrix.
    lengths = dict.fromkeys(WRITTEN, max(m, n, 1)) | {"limiters": max(m * n, 1)}
    for name in WRITTEN:
        rows = zip(getattr(got, name), getattr(exact, name), getattr(before, name), strict=True)
        for i, (tensor, truth, start) in enumerate(rows):
            if name in ("steps", "skipped"):
                assert torch.equal(tensor, truth), f"{name}[{i}]: {tensor} is not {truth}"
                continue
            work = torch.float64 if got.params[0].dtype == torch.float64 else torch.float32
            change = truth.double() - start.double()
            options = dict(work=work, intermediate=intermediate[name], change=change)
            assert_close(f"{name}[{i}]", tensor, truth, lengths[name], **options)


def check_steps(problem: Problem, backend: str, steps: int = 3, growth: float = 1.7, **options):
    """Several steps of a backend; after each, everything against one fp64 reference step."""
    for _ in range(steps):
        before = problem.clone()
        truth = before.double()
        truth.step("reference", **options)
        problem.step(backend, **options)
        compare(problem, truth, before, backend)
        for name in READ:
            for i, (a, b) in enumerate(
                zip(getattr(problem, name), getattr(before, name), strict=True)
            ):
                assert torch.equal(a, b), f"{name}[{i}] was written"
        if growth != 1:
            problem.grow(growth)
