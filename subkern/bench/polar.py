"""What an orthogonalised matrix costs, beside the loop of products that is in use for it."""

from collections.abc import Sequence
from functools import lru_cache, partial
from typing import Any

import torch
from torch import Tensor

from subkern.bench import linalg
from subkern.bench.accuracy import Error
from subkern.bench.linalg import ITEMSIZE
from subkern.bench.registry import Case, Setup
from subkern.bench.targets import Budget

OP = "polar"
SHAPES = ((512, 1024, "direction"), (1024, 2736, "direction"), (512, 1024, "orthogonal"))
GPU_SHAPES = ((4096, 11008, "direction", 5e-3),)
CONDITION = 1e3
LEAST_COSINE = 0.94
# Of the "orthogonal" preset.
OFF_ORTHOGONAL = 5e-6
STEPS = {"direction": 5, "orthogonal": 14}
# The coefficients of the published optimizer that made the loop known (Muon).
LOOP = (3.4445, -4.7750, 2.0315)


def cost(m: int, n: int, preset: str, dtype: str) -> tuple[int, int]:
    """Bytes and FLOPs of the standard form: X read, Q written; three products a step."""
    k, q = min(m, n), max(m, n)
    return 2 * m * n * ITEMSIZE[dtype], STEPS[preset] * (4 * k * k * q + 2 * k * k * k)


@lru_cache(maxsize=4)
def matrix(m: int, n: int, where: str) -> tuple[Tensor, Tensor]:
    """A matrix with geometric singular values down to 1/CONDITION, and its polar factor."""
    generator = torch.Generator().manual_seed(m + n)
    k = min(m, n)
    U, V = (
        torch.linalg.qr(torch.randn(rows, k, generator=generator).to(where))[0] for rows in (m, n)
    )
    s = CONDITION ** -(torch.arange(k, device=where) / max(k - 1, 1))
    return (U * s) @ V.mT, U @ V.mT


def errors(polar: Tensor, preset: str, Q: Tensor) -> list[Error]:
    """1 - cosine to the polar factor; off orthogonal where that is promised, else shown alone."""
    q, p = Q.double(), polar.double()
    cosine = ((q * p).sum() / (torch.linalg.vector_norm(q) * torch.linalg.vector_norm(p))).item()
    short = q if q.shape[-2] <= q.shape[-1] else q.mT
    size = short.shape[-2]
    off = short @ short.mT - torch.eye(size, device=q.device)
    away = torch.linalg.matrix_norm(off).item() / size**0.5
    bound = OFF_ORTHOGONAL if preset == "orthogonal" else float("inf")
    angle = OFF_ORTHOGONAL if preset == "orthogonal" else 1 - LEAST_COSINE
    return [Error("1-cosine", 1 - cosine, angle), Error("orth rms", away, bound)]


def loop(X: Tensor, steps: int, kind: torch.dtype) -> Tensor:
    """The loop as it is written everywhere, a quintic polynomial a step."""
    a, b, c = LOOP
    Y = X.to(kind)
    tall = Y.shape[-2] > Y.shape[-1]
    Y = Y.mT if tall else Y
    Y = Y / (torch.linalg.matrix_norm(Y) + 1e-7)
    for _ in range(steps):
        G = Y @ Y.mT
        Y = a * Y + (b * G + c * G @ G) @ Y
    return Y.mT if tall else Y


def setup(m: int, n: int, preset: str, dtype: str, where: str, quick: bool) -> Setup:
    """Ours, the loop with as many steps, and the exact factor by an SVD."""
    import subkern

    del quick
    X, true = matrix(m, n, where)
    X = X.to(torch.bfloat16) if dtype == "bf16" else X
    kind = torch.bfloat16 if torch.device(where).type == "cuda" else torch.float32

    def ours(X: Tensor, backend: str) -> Any:
        return subkern.polar(X, preset=preset, backend=backend)

    def exact() -> Tensor:
        U, _, Vh = torch.linalg.svd(X.float(), full_matrices=False)
        return U @ Vh

    peers = {} if preset == "orthogonal" else {"loop": lambda: loop(X, STEPS[preset], kind)}
    if torch.device(where).type == "cpu":
        peers["linalg-svd"] = exact
    return linalg.competitors(
        partial(ours, X),
        partial(ours, X[:16, :16]),
        peers,
        lambda Q: errors(true, preset, Q),
        where,
        notes={"loop": "five steps with Muon's coefficients, another polynomial than ours"},
    )


def _case(m: int, n: int, preset: str, dtype: str, where: str, budget: float | None) -> Case:
    nbytes, flops = cost(m, n, preset, dtype)
    return Case(
        name=f"{OP}-{preset}-{m}x{n}-{dtype}",
        op=OP,
        shape=f"{m}x{n}",
        dtype=dtype,
        setup=partial(setup, m, n, preset, dtype, where),
        bytes=nbytes,
        flops=flops,
        targets=() if budget is None else (Budget("step", budget),),
    )


def cases() -> list[Case]:
    """Both presets."""
    return [_case(m, n, preset, "fp32", "cpu", None) for m, n, preset in SHAPES]


def gpu_cases(
    where: str = "cuda", shapes: Sequence[tuple[int, int, str, float]] = GPU_SHAPES
) -> list[Case]:
    """A gradient's size in bfloat16."""
    return [_case(m, n, preset, "bf16", where, budget) for m, n, preset, budget in shapes]
