"""What drawing without replacement from many rows of weights costs, beside torch.multinomial."""

from collections.abc import Sequence
from functools import partial
from typing import Any

import torch
from torch import Tensor

from subkern.bench import linalg
from subkern.bench.accuracy import Error
from subkern.bench.registry import Case, Setup

OP = "sample_without_replacement"
# Rows, columns, drawn, and the least speed-up over torch.multinomial on one thread of a CPU.
SHAPES: tuple[tuple[int, int, int, float | None], ...] = (
    (256, 4096, 128, 4.0),
    (256, 1024, 64, 4.0),
    (1, 4096, 128, None),
)
# On an H100: rows, columns, drawn, seconds.
GPU_SHAPES: tuple[tuple[int, int, int, float | None], ...] = (
    (256, 4096, 128, 12e-6),
    (256, 1024, 64, None),
    (1, 4096, 128, None),
)
# Of one column: ten rounds of Philox for four of them, the logarithm, the quotient.
COLUMN_FLOPS = 10 * 6 // 4 + 30 + 10
# Two keys closer than this may change places between the reference and the kernels.
NEAR = 1e-5


def cost(n: int, k: int) -> tuple[int, int]:
    """Bytes and operations of one row: weights read, columns written as 64-bit integers."""
    return 4 * n + 8 * k, COLUMN_FLOPS * n


def errors(weights: Tensor, idx: Tensor, keys: Tensor | None) -> list[Error]:
    """Columns drawn twice, as a share; with keys also how far a sample is from their largest."""
    inside = (idx >= 0) & (idx < weights.shape[1])
    ascending = idx.clamp(0, weights.shape[1] - 1).sort(1)[0]
    repeats = ((ascending.diff(dim=1) == 0).sum() + (~inside).sum()) / max(1, idx.numel())
    found = [Error("repeats", float(repeats), 0.0)]
    if keys is not None:
        least = keys.gather(1, ascending).amin(1)
        best = keys.topk(idx.shape[1], dim=1)[0][:, -1]
        found.append(Error("keys", float((best - least).clamp_min(0).max()), NEAR))
    return found


def keys_of(weights: Tensor, seed: int, offset: int) -> Tensor:
    """The keys in float64."""
    from subkern.reference.sample_without_replacement import noise

    v = noise(weights.shape[0], weights.shape[1], seed, offset, weights.device).double()
    return weights.double().log() - (-torch.log1p(-v)).log()


def gumbel(weights: Tensor, k: int) -> Tensor:
    """The same trick by torch's own operators, noise from its generator."""
    return (weights.log() - torch.empty_like(weights).exponential_().log()).topk(k).indices


def setup(batch: int, n: int, k: int, where: str, quick: bool) -> Setup:
    """Ours, torch.multinomial, and the largest keys by torch.topk."""
    import subkern

    del quick
    weights = linalg.normal_batch(1, batch, n, "fp32", where)[0].abs()

    def ours(weights: Tensor, count: int, backend: str) -> Any:
        return subkern.sample_without_replacement(
            weights, count, seed=1, offset=2, info=True, backend=backend
        )

    def judged(result: Any) -> list[Error]:
        if isinstance(result, Tensor):
            return errors(weights, result, None)
        return errors(weights, result.idx, keys_of(weights, 1, 2))

    return linalg.competitors(
        partial(ours, weights, k),
        partial(ours, weights[:1], 1),
        {
            "multinomial": lambda: torch.multinomial(weights, k),
            "gumbel-topk": lambda: gumbel(weights, k),
        },
        judged,
        where,
        two_threads=batch >= linalg.SECOND_THREAD_BATCH,
        notes=dict.fromkeys(("multinomial", "gumbel-topk"), "other noise: the same distribution"),
    )


def _case(
    batch: int, n: int, k: int, where: str, floor: float | None, budget: float | None
) -> Case:
    bounds = linalg.targets(floor, "multinomial", batch, where=where, budget_s=budget)
    nbytes, flops = cost(n, k)
    return Case(
        name=f"{OP}-{n}-k{k}-b{batch}-fp32",
        op=OP,
        shape=f"{batch}x{n}",
        dtype="fp32",
        setup=partial(setup, batch, n, k, where),
        bytes=batch * nbytes,
        flops=batch * flops,
        rank=k,
        targets=bounds,
        batch=batch,
    )


def cases() -> list[Case]:
    """Many rows, and one."""
    return [_case(b, n, k, "cpu", floor, None) for b, n, k, floor in SHAPES]


def gpu_cases(
    where: str = "cuda", shapes: Sequence[tuple[int, int, int, float | None]] = GPU_SHAPES
) -> list[Case]:
    """The same on a GPU; the first has a budget."""
    return [_case(b, n, k, where, None, budget) for b, n, k, budget in shapes]
