"""Host side of a low-rank Adam step on the GPU: what a call, a chunk and its scratch hold.

Shared by the Triton and the CUDA backend. A *chunk* is a set of parameters of one call with equal
shapes, strides and alignment: every stage is one launch for all of them.
"""

from __future__ import annotations

import functools
import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from subkern.backends.triton.tables import table
from subkern.reference.lowrank_adam import residual_is_roundoff
from subkern.triton_kernels.configs import (
    Tile,
    ceil_div,
    fused_tile,
    project_tile,
    round_up,
    slice_length,
    slices,
    update_tile,
)

# The scratch of a chunk stays within this, so that it stays in a GPU's L2 cache between stages.
CHUNK_BYTES = 32 << 20
PAD = 8  # rows of scratch matrices are padded to multiples of this many elements
LISTS = ("params", "grads", "bases", "bases_right", "exp_avgs", "exp_avg_sqs")
SCALAR_LISTS = ("steps", "skipped", "limiters")


@dataclass(frozen=True)
class Product:
    """A product rows x cols over ``length`` terms, cut into tiles and slices."""

    rows: int
    cols: int
    length: int
    tile: Tile
    slices: int = 1

    @property
    def slice_length(self) -> int:
        """Terms of every slice but the last."""
        return slice_length(self.tile, self.length, self.slices)

    @property
    def tiles(self) -> int:
        """Tiles of one slice."""
        return self.tile.count(self.rows, self.cols)


@dataclass(frozen=True)
class Plan:
    """What all parameters of a call share.

    Attributes:
        m, n, rank, side, dtype: of the parameters; side is "left", "right" or "full".
        fira: whether the residual takes part (False where it is nothing but round-off).
        matrix_norm: fira: one phi for the matrix, else one per canonical column.
        rows, cols, ld: R, and the padded row length of every scratch matrix of its shape.
        columns: canonical columns of the gradient: n, or m when right.
        project: the product that gives R's partial sums.
        wide: side "full": the product T1 = P^T G before it, else None.
        back: side "full": the product T2 = D Q^T after the moments, else None.
        update: the product that W is updated with.
        square_slices: slices of ``Scratch.squares``.
        fused: whether the projection updates the moments itself.
        lr: the rate, where it is a number; ``lr_tensor`` the float32 CUDA tensor, where it is one.
    """

    m: int
    n: int
    rank: int
    side: str
    dtype: torch.dtype
    device: torch.device
    fira: bool
    matrix_norm: bool
    rows: int
    cols: int
    ld: int
    columns: int
    project: Product
    wide: Product | None
    back: Product | None
    update: Product
    fused: bool
    lr: float
    lr_tensor: Tensor | None
    beta1: float
    beta2: float
    eps: float
    weight_decay: float
    post_decay: bool
    correct_bias: bool
    scale: float
    gamma: float
    norm_eps: float
    residual_scale: float
    skip_nonfinite: bool

    @property
    def slices(self) -> int:
        """Slices of ``Scratch.partials``."""
        return self.project.slices

    @property
    def tiles(self) -> int:
        """Entries of ``Scratch.tile_flags`` per parameter: tiles of every slice."""
        return self.project.tiles * self.project.slices

    @property
    def square_slices(self) -> int:
        """Slices of ``Scratch.squares``."""
        return (self.wide or self.project).slices

    @property
    def column_axis(self) -> int:
        """Canonical columns are columns (1: left, full) or rows (0: right) of R and G."""
        return 0 if self.side == "right" else 1

    @property
    def log_betas(self) -> tuple[float, float]:
        """Logarithms of both decay rates: 1 - beta^t in float32 needs more than float32 of beta."""
        return log_beta(self.beta1), log_beta(self.beta2)

    @property
    def wide_ld(self) -> int:
        """Row length of ``Scratch.wide``."""
        return round_up(self.n, PAD)

    def bytes_per_parameter(self) -> int:
        """Scratch that one parameter adds to a chunk."""
        item, matrix = self.dtype.itemsize, self.rows * self.ld
        total = 0 if self.fused else 4 * self.slices * matrix
        total += item * matrix * (2 if self.fira else 1)
        if self.fira:
            total += 4 * self.columns * (self.square_slices + 1)
        if self.side == "full":
            total += item * self.rank * self.wide_ld
        return total + 4 * (self.tiles + 1 + 4)


@dataclass(frozen=True)
class Layout:
    """How the matrices of one list lie in memory.

    Attributes:
        unit: the dimension of stride 1.
        stride: of the other dimension, in elements.
        vector: elements that every aligned access along ``unit`` may take at once.
    """

    unit: int
    stride: int
    vector: int


@dataclass(frozen=True)
class Chunk:
    """Parameters that go through the stages together; every list has ``count`` entries."""

    count: int
    tensors: Mapping[str, Sequence[Tensor]]
    addresses: Mapping[str, Sequence[int]]
    layouts: Mapping[str, Layout]

    @functools.cached_property
    def table(self) -> Tensor:
        """The addresses beside the parameters, a row for each of the lists (zeros if absent)."""
        absent = [0] * self.count
        rows = [self.addresses.get(name, absent) for name in (*LISTS, *SCALAR_LISTS)]
        return table(rows, self.tensors["params"][0].device)


@dataclass(frozen=True)
class Scratch:
    """Uninitialised memory of one chunk; shapes with C = count, S = slices.

    Attributes:
        partials: float32 (S, C, rows, ld), sums of R over the slices; None when fused.
        tile_flags: int32 (C, tiles), nonzero where a partial tile held an inf or a NaN.
        counters: int32 (C,), zeroed by the projection.
        direction: parameter dtype (C, rows, ld), D (galore) or N (fira).
        lowrank: fira: parameter dtype (C, rows, ld), R rounded.
        squares: fira: float32 (square_slices, C, columns), partial ||X_j||^2.
        phi: fira: float32 (C, columns); only [p, 0] with matrix_norm.
        scalars: float32 (C, 4): eta * update_scale, decay factor, s, skip.
        wide: side "full": parameter dtype (C, rank, wide_ld), T1 and later T2.
    """

    partials: Tensor | None
    tile_flags: Tensor
    counters: Tensor
    direction: Tensor
    lowrank: Tensor | None
    squares: Tensor | None
    phi: Tensor | None
    scalars: Tensor
    wide: Tensor | None


def log_beta(beta: float) -> float:
    """Natural logarithm of a decay rate, which may be 0."""
    return math.log(beta) if beta > 0.0 else -math.inf


def _cut(rows: int, cols: int, length: int, tile: Tile, dtype: torch.dtype, room: int) -> Product:
    """The product with its number of slices; ``room`` bytes are there for partial sums."""
    largest = room // (4 * round_up(rows, PAD) * round_up(cols, PAD))
    return Product(
        rows, cols, length, tile, slices(tile, rows, cols, length, dtype.itemsize, largest)
    )


def make_plan(call: Mapping[str, Any]) -> Plan:
    """Plan of one call of ``lowrank_adam_``; the matrices have elements."""
    W, P, lr = call["params"][0], call["bases"][0], call["lr"]
    (m, n), rank, side, dtype = W.shape, P.shape[1], call["side"], W.dtype
    full, right = side == "full", side == "right"
    rows, cols = {"left": (rank, n), "right": (m, rank), "full": (rank, rank)}[side]
    a = call["scale"] if call["alpha_in_residual"] else 1.0
    fira = call["rule"] == "fira" and not residual_is_roundoff((m, n), rank, side, a)
    item, ld = dtype.itemsize, round_up(cols, PAD)
    skip = call["skip_nonfinite"]
    tile = project_tile(rank, item, fira=fira)
    # The product as the kernel sees it: canonical columns first, then the rank.
    columns, length = {"left": (n, m), "right": (m, n), "full": (rank, n)}[side]
    # Fira adds N and R, in the parameter's dtype; counted always, so that both rules share S.
    project = _cut(columns, rank, length, tile, dtype, CHUNK_BYTES - 2 * item * rows * ld)
    fused = not (full or fira or skip) and project.slices == 1
    if fused:
        project = Product(columns, rank, length, fused_tile(rank, item))
    return Plan(
        m=m,
        n=n,
        rank=rank,
        side=side,
        dtype=dtype,
        device=W.device,
        fira=fira,
        matrix_norm=full or call["granularity"] == "matrix",
        rows=rows,
        cols=cols,
        ld=ld,
        columns=m if right else n,
        project=project,
        # In the published order, (P^T G) Q: see docs/decisions.md.
        wide=Product(n, rank, m, tile) if full else None,
        back=Product(rank, n, rank, update_tile(item, fira)) if full else None,
        update=Product(m, n, rank, update_tile(item, fira)),
        fused=fused,
        lr=float(lr) if lr.device.type == "cpu" else 0.0,
        lr_tensor=None if lr.device.type == "cpu" else lr.to(W.device, torch.float32),
        post_decay=call["decay"] == "post",
        residual_scale=a,
        skip_nonfinite=skip,
        **{k: call[k] for k in ("beta1", "beta2", "eps", "weight_decay", "correct_bias")},
        **{k: call[k] for k in ("scale", "gamma", "norm_eps")},
    )


def has_unit_stride(t: Tensor) -> bool:
    """Whether one dimension of a matrix is contiguous, as the kernels want it."""
    return 1 in t.stride() or t.numel() < 2


def layout(t: Tensor) -> Layout:
    """Layout of one matrix with a unit stride."""
    strides, shape = t.stride(), t.shape
    unit = 0 if strides[1] != 1 and strides[0] == 1 else 1
    stride = strides[1 - unit] if shape[1 - unit] > 1 else 0
    place = t.data_ptr() // t.element_size()
    vector = math.gcd(16 // t.element_size(), stride, shape[unit], place)
    return Layout(unit, stride, vector)


def make_chunks(plan: Plan, call: Mapping[str, Any], most: int) -> Iterator[Chunk]:
    """Parameters with equal layouts, at most ``most`` at a time and within CHUNK_BYTES."""
    names = [name for name in (*LISTS, *SCALAR_LISTS) if call[name]]
    matrices = [name for name in LISTS if call[name]]
    groups: dict[tuple[Layout, ...], list[int]] = {}
    for i in range(len(call["params"])):
        key = tuple(layout(call[name][i]) for name in matrices)
        groups.setdefault(key, []).append(i)
    longest = min(most, max(1, CHUNK_BYTES // plan.bytes_per_parameter()))
    for key, members in groups.items():
        # Chunks of nearly equal size: the last one would otherwise leave the GPU half empty.
        size = ceil_div(len(members), ceil_div(len(members), longest))
        for start in range(0, len(members), size):
            part = members[start : start + size]
            tensors = {name: [call[name][i] for i in part] for name in names}
            yield Chunk(
                count=len(part),
                tensors=tensors,
                addresses={name: [t.data_ptr() for t in ts] for name, ts in tensors.items()},
                layouts=dict(zip(matrices, key, strict=True)),
            )


def make_scratch(plan: Plan, count: int) -> Scratch:
    """Scratch of a chunk of ``count`` parameters."""

    def empty(dtype: torch.dtype, *shape: int) -> Tensor:
        return torch.empty(shape, dtype=dtype, device=plan.device)

    matrix = (count, plan.rows, plan.ld)
    fira, single = plan.fira, torch.float32
    return Scratch(
        partials=None if plan.fused else empty(single, plan.slices, *matrix),
        tile_flags=empty(torch.int32, count, plan.tiles),
        counters=empty(torch.int32, count),
        direction=empty(plan.dtype, *matrix),
        lowrank=empty(plan.dtype, *matrix) if fira else None,
        squares=empty(single, plan.square_slices, count, plan.columns) if fira else None,
        phi=empty(single, count, plan.columns) if fira else None,
        scalars=empty(single, count, 4),
        wide=empty(plan.dtype, count, plan.rank, plan.wide_ld) if plan.wide else None,
    )
