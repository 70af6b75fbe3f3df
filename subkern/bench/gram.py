"""What a Gram matrix costs, beside the plain product by torch.mm."""

from collections.abc import Sequence
from functools import partial
from typing import Any

import torch
from torch import Tensor

from subkern.bench import linalg
from subkern.bench.accuracy import EPS, Error, product
from subkern.bench.linalg import ITEMSIZE, Call, normal_batch
from subkern.bench.registry import Case, Setup

OP = "gram"
# Rows, columns, side, sums, dtype.
SHAPES = (
    (2736, 1024, "right", "fp32", "fp32"),
    (1024, 2736, "left", "fp32", "fp32"),
    (1024, 2736, "left", "fp32", "bf16"),
    (2048, 256, "right", "fp64", "fp32"),
)
GPU_SHAPES = (
    (4096, 11008, "left", "fp32", "bf16"),
    (4096, 11008, "left", "fp32", "fp32"),
    (4096, 1024, "right", "fp64", "fp32"),
)


def cost(m: int, n: int, side: str, accumulate: str, dtype: str) -> tuple[int, int]:
    """Bytes and FLOPs: X read, G written; half of the product, counted twice in float64."""
    k, depth = (m, n) if side == "left" else (n, m)
    flops = k * k * depth * (2 if accumulate == "fp64" else 1)
    return m * n * ITEMSIZE[dtype] + 4 * k * k, flops


def errors(X: Tensor, side: str, accumulate: str, G: Tensor) -> list[Error]:
    """Distance from the product in float64, and from symmetry."""
    wide = X.double()
    want = wide @ wide.mT if side == "left" else wide.mT @ wide
    depth = X.shape[-1] if side == "left" else X.shape[-2]
    # Rounding of sums in float32 adds up like a random walk; float64 sums are rounded once.
    bound = EPS if accumulate == "fp64" else EPS * depth**0.5
    apart = (G.double() - G.double().mT).abs().amax() / want.abs().amax().clamp_min(1e-300)
    return [product("error", G, want, bound), Error("asymmetry", float(apart), 0.0)]


def setup(m: int, n: int, side: str, accumulate: str, dtype: str, where: str, quick: bool) -> Setup:
    """Ours, and the whole product: of the input, or widened as far as our sums are."""
    import subkern

    del quick
    X = normal_batch(1, m, n, dtype, where)[0]

    def ours(X: Tensor, backend: str) -> Any:
        return subkern.gram(
            X, side=side, accumulate=accumulate, out_dtype=torch.float32, backend=backend
        )

    def plain(kind: torch.dtype) -> Tensor:
        x = X.to(kind)
        return (torch.mm(x, x.mT) if side == "left" else torch.mm(x.mT, x)).float()

    peers: dict[str, Call] = {"mm": partial(plain, X.dtype)}
    notes = {"mm": "torch.mm of the input" + (", rounded to bfloat16" if dtype == "bf16" else "")}
    widened = torch.float64 if accumulate == "fp64" else torch.float32
    if widened != X.dtype:
        peers["mm-widened"] = partial(plain, widened)
        notes["mm-widened"] = f"torch.mm in {widened}, the conversion counted".replace(
            "torch.f", "f"
        )
    return linalg.competitors(
        partial(ours, X),
        partial(ours, X[:16, :16]),
        peers,
        lambda G: errors(X, side, accumulate, G),
        where,
        notes=notes,
    )


def _case(m: int, n: int, side: str, accumulate: str, dtype: str, where: str) -> Case:
    nbytes, flops = cost(m, n, side, accumulate, dtype)
    return Case(
        name=f"{OP}-{side}-{m}x{n}-sums-{accumulate}-{dtype}",
        op=OP,
        shape=f"{m}x{n}",
        dtype=dtype,
        setup=partial(setup, m, n, side, accumulate, dtype, where),
        bytes=nbytes,
        flops=flops,
    )


def cases() -> list[Case]:
    """Both sides, both kinds of sums, bfloat16 once."""
    return [_case(*shape, where="cpu") for shape in SHAPES]


def gpu_cases(
    where: str = "cuda", shapes: Sequence[tuple[int, int, str, str, str]] = GPU_SHAPES
) -> list[Case]:
    """A gradient in both dtypes, and the float64 sums of a tall factor."""
    return [_case(*shape, where=where) for shape in shapes]
