"""What a new decomposition of a trained factorization costs, beside torch.linalg.svd of W."""

from collections.abc import Sequence
from functools import partial
from typing import Any

import torch
from torch import Tensor

from subkern.bench import accuracy, linalg
from subkern.bench.linalg import ITEMSIZE
from subkern.bench.registry import Case, Setup
from subkern.bench.targets import Target

OP = "svd_factored"
# How far a round of training turns the singular vectors, as a share of their length.
TURNED = 0.1
# Rows, columns, and the least speed-up over torch.linalg.svd of the product.
SHAPES: tuple[tuple[int, int, float | None], ...] = (
    (1024, 1024, 1.0),
    (1024, 2736, 2.0),
    (2736, 1024, None),
)


def cost(m: int, n: int) -> tuple[int, int]:
    """Bytes and FLOPs for k = min(m, n), d = max(m, n): factors read and written; the products.

    W, its Gram matrix (half, float64), W^T E, their Gram matrix (half) and the substitution take
    2 + 1 + 2 + 1 + 1 times k^2 d, the eigenvectors about 9 k^3 (Golub and Van Loan, 8.3.3).
    """
    k, d = min(m, n), max(m, n)
    return 2 * ITEMSIZE["fp32"] * k * (m + n + 1), 7 * k * k * d + 9 * k**3


def factors(m: int, n: int, where: str) -> tuple[Tensor, Tensor, Tensor]:
    """Orthonormal rows, turned, of unit length again; values falling to a hundredth."""
    generator = torch.Generator().manual_seed(m + 7 * n)
    k, sides = min(m, n), []
    for length in (m, n):
        Q = torch.linalg.qr(torch.randn(length, k, generator=generator))[0].mT
        Q = Q + TURNED * torch.randn(k, length, generator=generator) / length**0.5
        sides.append(torch.nn.functional.normalize(Q, dim=1).to(where))
    return sides[0], torch.linspace(1.0, 0.01, k).to(where), sides[1]


def setup(m: int, n: int, where: str, quick: bool) -> Setup:
    """Ours, and torch.linalg.svd of the product, which it makes first."""
    import subkern

    del quick
    Uh, S, Vh = factors(m, n, where)
    W = (Uh.double().mT * S.double()) @ Vh.double()
    true, eye = torch.linalg.svdvals(W), torch.eye(2, device=where)

    def ours(Uh: Tensor, S: Tensor, Vh: Tensor, backend: str) -> Any:
        left, values, right = subkern.svd_factored(Uh, S, Vh, backend=backend)
        return left.mT, values, right

    def peer() -> Any:
        return torch.linalg.svd((Uh * S[:, None]).mT @ Vh, full_matrices=False)

    return linalg.competitors(
        partial(ours, Uh, S, Vh),
        partial(ours, eye, eye[0], eye),
        {"linalg-svd": peer},
        lambda found: accuracy.svd(W[None], *(t[None] for t in found), true=true[None]),
        where,
        two_threads=True,
        notes={"linalg-svd": "of the product, made anew"},
        capturable=False,
    )


def _case(m: int, n: int, floor: float | None, where: str) -> Case:
    nbytes, flops = cost(m, n)
    bounds = () if floor is None else (Target("step", "linalg-svd", "speedup", floor),)
    return Case(
        name=f"{OP}-{m}x{n}-fp32",
        op=OP,
        shape=f"{m}x{n}",
        dtype="fp32",
        setup=partial(setup, m, n, where),
        bytes=nbytes,
        flops=flops,
        targets=bounds,
    )


def cases() -> list[Case]:
    """A square layer, and a language model's feed-forward layer both ways round."""
    return [_case(*shape, where="cpu") for shape in SHAPES]


def gpu_cases(
    where: str = "cuda", shapes: Sequence[tuple[int, int, float | None]] = SHAPES
) -> list[Case]:
    """The same on a GPU, with the same floors."""
    return [_case(*shape, where=where) for shape in shapes]
