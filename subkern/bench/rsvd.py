"""What a randomized SVD costs, beside torch.svd_lowrank."""

from collections.abc import Sequence
from functools import lru_cache, partial
from typing import Any

import torch
from torch import Tensor

from subkern.bench import linalg
from subkern.bench.accuracy import Error, orthonormality
from subkern.bench.gallery import gradient
from subkern.bench.linalg import ITEMSIZE
from subkern.bench.registry import Case, Setup

OP = "rsvd"
SHAPES = ((1024, 2736, 128), (2048, 5461, 256))
GPU_SHAPES = ((4096, 11008, 256),)
OVERSAMPLE, ITERATIONS = 8, 2


def cost(m: int, n: int, rank: int) -> tuple[int, int]:
    """Bytes and FLOPs: A read by each of the six products, 2 m n r FLOPs each."""
    products = 2 * ITERATIONS + 2
    r = rank + OVERSAMPLE
    return products * m * n * ITEMSIZE["fp32"], products * 2 * m * n * r


@lru_cache(maxsize=2)
def tail(m: int, n: int, rank: int, where: str) -> float:
    """||A - A_r||_F / ||A||_F of the best approximation."""
    A = gradient(m, n).to(where).double()
    values = torch.linalg.eigvalsh(A @ A.mT if m <= n else A.mT @ A)
    return (values[:-rank].sum() / values.sum()).clamp_min(0).sqrt().item()


def errors(A: Tensor, best: float, U: Tensor, S: Tensor, Vh: Tensor) -> list[Error]:
    """Both factors, and how far the approximation is behind the best of the rank."""
    a = A.double()
    missed = torch.linalg.vector_norm(a - (U.double() * S.double()) @ Vh.double())
    excess = (missed / torch.linalg.vector_norm(a)).item() / best - 1
    return [
        orthonormality("orth U", U),
        orthonormality("orth V", Vh.mT),
        Error("excess", excess, float("inf")),
    ]


def setup(m: int, n: int, rank: int, where: str, quick: bool) -> Setup:
    """Ours and torch's, with the same oversampling and iterations."""
    import subkern

    del quick
    A = gradient(m, n).to(where)
    best = tail(m, n, rank, where)

    def ours(A: Tensor, rank: int, backend: str) -> Any:
        return subkern.rsvd(A, rank, oversample=OVERSAMPLE, iters=ITERATIONS, backend=backend)

    def peer() -> tuple[Tensor, Tensor, Tensor]:
        torch.manual_seed(0)
        U, S, V = torch.svd_lowrank(A, q=rank + OVERSAMPLE, niter=ITERATIONS)
        return U[:, :rank], S[:rank], V[:, :rank].mT

    return linalg.competitors(
        partial(ours, A, rank),
        partial(ours, A[:16, :24].contiguous(), 2),
        {"svd-lowrank": peer},
        lambda found: errors(A, best, *found[:3]),
        where,
        notes={"svd-lowrank": "torch, the same oversampling and iterations"},
    )


def _case(m: int, n: int, rank: int, where: str) -> Case:
    nbytes, flops = cost(m, n, rank)
    return Case(
        name=f"{OP}-{m}x{n}-r{rank}-fp32",
        op=OP,
        shape=f"{m}x{n}",
        dtype="fp32",
        setup=partial(setup, m, n, rank, where),
        bytes=nbytes,
        flops=flops,
        rank=rank,
    )


def cases() -> list[Case]:
    """Two sizes of a language model's matrices."""
    return [_case(*shape, where="cpu") for shape in SHAPES]


def gpu_cases(
    where: str = "cuda", shapes: Sequence[tuple[int, int, int]] = GPU_SHAPES
) -> list[Case]:
    """A larger one."""
    return [_case(*shape, where=where) for shape in shapes]
