"""What an orthogonalised matrix costs, beside the same steps in plain torch and an SVD."""

from collections.abc import Sequence
from functools import lru_cache, partial
from typing import Any

import torch
from torch import Tensor

from subkern.bench import linalg
from subkern.bench.accuracy import Error
from subkern.bench.linalg import ITEMSIZE, Call
from subkern.bench.registry import DTYPES, Case, Setup
from subkern.bench.targets import Budget
from subkern.reference.polar_table import STEPS

OP = "polar"
SHAPES = ((512, 1024, "direction"), (1024, 2736, "direction"), (512, 1024, "orthogonal"))
# The last with the budget in seconds.
GPU_SHAPES: tuple[tuple[int, int, str, str, float | None], ...] = (
    (4096, 11008, "direction", "bf16", 5e-3),
    (1024, 2736, "direction", "bf16", None),
    (1024, 2736, "orthogonal", "fp32", None),
)
CONDITION = 1e3
# Singular values from this share of the norm on come within so much of 1, by preset. Those of
# "direction" below it do not all arrive: of 4096 nearly a half, which leaves a cosine of 0.89.
PROMISED = 1e-3
BOUNDS = {"direction": 0.2, "orthogonal": 5e-6}
FURTHEST = {"direction": 0.15, "orthogonal": 5e-6}
# An SVD of more elements is left out on a GPU: it takes many seconds.
LONGEST_SVD = 2**22


def cost(m: int, n: int, preset: str, dtype: str) -> tuple[int, int]:
    """Bytes and FLOPs of the standard form: X read, Q written; three products a step."""
    k, q = min(m, n), max(m, n)
    nbytes = m * n * (ITEMSIZE[dtype] + ITEMSIZE["fp32"])
    return nbytes, len(STEPS[preset]) * (4 * k * k * q + 2 * k * k * k)


@lru_cache(maxsize=2)
def matrix(m: int, n: int, where: str) -> tuple[Tensor, Tensor, Tensor]:
    """Singular vectors, and geometric values down to 1/CONDITION: (U, s, V)."""
    generator = torch.Generator().manual_seed(m + n)
    k = min(m, n)
    U, V = (
        torch.linalg.qr(torch.randn(rows, k, generator=generator).to(where))[0] for rows in (m, n)
    )
    return U, CONDITION ** -(torch.arange(k, device=where) / max(k - 1, 1)), V


def errors(U: Tensor, s: Tensor, V: Tensor, preset: str, Q: Tensor) -> list[Error]:
    """Singular values that are promised to be 1, and 1 - cosine to the polar factor."""
    q, u, v = Q.double(), U.double(), V.double()
    values = (u * (q @ v)).sum(0)
    off = (values - 1)[s >= PROMISED * torch.linalg.vector_norm(s)].abs().amax().item()
    size = torch.linalg.vector_norm(q) * len(s) ** 0.5
    angle = 1 - (values.sum() / size).item()
    return [
        Error("values", off, BOUNDS[preset]),
        Error("1-cosine", angle, FURTHEST[preset]),
    ]


def eager(X: Tensor, preset: str, kind: torch.dtype) -> Tensor:
    """Our steps as anybody would write them: three products each, nothing symmetric."""
    Y = X.to(kind)
    tall = Y.shape[-2] > Y.shape[-1]
    Y = Y.mT if tall else Y
    Y = Y / torch.linalg.matrix_norm(Y)
    for a, b, c in STEPS[preset]:
        G = Y @ Y.mT
        Y = a * Y + (b * G + c * (G @ G)) @ Y
    return Y.mT if tall else Y


def exact(X: Tensor) -> Tensor:
    """U V^T of the singular value decomposition."""
    U, _, Vh = torch.linalg.svd(X.float(), full_matrices=False)
    return U @ Vh


def setup(m: int, n: int, preset: str, dtype: str, where: str, quick: bool) -> Setup:
    """Ours, the same steps by torch, and the exact factor by an SVD."""
    import subkern

    del quick
    U, s, V = matrix(m, n, where)
    X = ((U * s) @ V.mT).to(DTYPES[dtype])
    on_cpu = torch.device(where).type == "cpu"

    def ours(X: Tensor, backend: str) -> Any:
        return subkern.polar(X, preset=preset, backend=backend)

    peers: dict[str, Call] = {"eager": partial(eager, X, preset, X.dtype)}
    if on_cpu or m * n <= LONGEST_SVD:
        peers["linalg-svd"] = partial(exact, X)
    return linalg.competitors(
        partial(ours, X),
        partial(ours, X[:16, :16]),
        peers,
        partial(errors, U, s, V, preset),
        where,
        notes={
            "eager": "the same steps in torch's products of the input's dtype",
            "linalg-svd": "U V^T; a single call",
        },
        once=("linalg-svd",),
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
    where: str = "cuda",
    shapes: Sequence[tuple[int, int, str, str, float | None]] = GPU_SHAPES,
) -> list[Case]:
    """A gradient's size in bfloat16, and one that an SVD can be timed of, roughly and exactly."""
    return [_case(*shape[:4], where, shape[4]) for shape in shapes]
