"""What a Gram matrix costs, beside the plain product by torch.matmul."""

from collections.abc import Sequence
from functools import partial
from typing import Any

import torch
from torch import Tensor

from subkern.bench import linalg
from subkern.bench.accuracy import EPS, Error, product
from subkern.bench.linalg import ITEMSIZE, normal_batch
from subkern.bench.registry import Case, Setup

OP = "gram"
# Rows, columns, side, accumulation; the plain product is the baseline of all.
SHAPES = (
    (1024, 2736, "left", "fp32"),
    (2736, 1024, "right", "fp32"),
    (2048, 256, "right", "fp64"),
)
GPU_SHAPES = ((4096, 11008, "left", "fp32"), (4096, 1024, "right", "fp64"))


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
    """Ours, and the whole product: of the input, and in float64 where ours adds in float64."""
    import subkern

    del quick
    X = normal_batch(1, m, n, dtype, where)

    def ours(X: Tensor, backend: str) -> Any:
        return subkern.gram(
            X, side=side, accumulate=accumulate, out_dtype=torch.float32, backend=backend
        )

    def plain() -> Tensor:
        x = X.double() if accumulate == "fp64" else X.float()
        return (x @ x.mT if side == "left" else x.mT @ x).float()

    return linalg.competitors(
        partial(ours, X),
        partial(ours, X[..., :16, :16]),
        {"matmul": plain},
        lambda G: errors(X, side, accumulate, G),
        where,
        notes={"matmul": "in float64, rounded at the end"} if accumulate == "fp64" else None,
    )


def _case(m: int, n: int, side: str, accumulate: str, dtype: str, where: str) -> Case:
    nbytes, flops = cost(m, n, side, accumulate, dtype)
    return Case(
        name=f"{OP}-{accumulate}-{side}-{m}x{n}-{dtype}",
        op=OP,
        shape=f"{m}x{n}",
        dtype=dtype,
        setup=partial(setup, m, n, side, accumulate, dtype, where),
        bytes=nbytes,
        flops=flops,
    )


def cases() -> list[Case]:
    """Both sides, both accumulations, bfloat16 once."""
    made = [_case(*shape, dtype="fp32", where="cpu") for shape in SHAPES]
    return [*made, _case(*SHAPES[0], dtype="bf16", where="cpu")]


def gpu_cases(
    where: str = "cuda", shapes: Sequence[tuple[int, int, str, str]] = GPU_SHAPES
) -> list[Case]:
    """A gradient in bfloat16, and the float64 Gram of a tall factor."""
    return [
        _case(*shape, dtype="fp32" if shape[3] == "fp64" else "bf16", where=where)
        for shape in shapes
    ]
