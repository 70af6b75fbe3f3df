"""Matrices that decide whether linear algebra is right: spectra, structure, scales, non-finite.

Every matrix of a shape lies in one seeded batch, so that a single call covers them. The stored
batch is the input and, widened to float64, the truth: no rounding comes between the two.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

SHAPES = (
    *((1, 1), (2, 1), (3, 3), (5, 4), (8, 8), (9, 7), (16, 16), (17, 13), (31, 31), (32, 32)),
    *((33, 33), (64, 8), (64, 64), (127, 5), (512, 8), (2048, 8), (2048, 31), (4097, 3)),
    *((1024, 128), (1000, 257)),
)
BATCHES = (0, 1, 2, 15, 16, 17, 33, 1000)
CONDITIONS = (1.0, 2.0, 1e2, 1e4, 1e6, 1e7, 1e10)
SCALES = (1e-38, 1e-30, 1e-20, 1e20, 1e30, math.inf)  # inf: 3e38 / m, as large as entries can be
DRIFTS = (0.1, 0.5, 1.0)
FAMILIES = ("spectrum", "structured", "subnormal")
LARGE = 1 << 16  # elements of a matrix from which three conditions stand for all
OUTLIERS = 0.05  # part of a gradient's tokens that outweigh the others


@dataclass(frozen=True)
class Gallery:
    """Named matrices of one shape.

    Attributes:
        names: one per matrix, ``geometric-1e6``.
        families: of FAMILIES, one per matrix.
        batch: (count, m, n); entries are numbers of float32 or bfloat16.
    """

    names: tuple[str, ...]
    families: tuple[str, ...]
    batch: Tensor

    @property
    def truth(self) -> Tensor:
        """The batch in float64."""
        return self.batch.double()

    def index(self, name: str) -> int:
        """Position of a matrix."""
        return self.names.index(name)

    def matrix(self, name: str) -> Tensor:
        """One matrix of the batch."""
        return self.batch[self.index(name)]

    def pick(self, keep: Callable[[str], bool]) -> Gallery:
        """The matrices whose name satisfies ``keep``."""
        at = [i for i, name in enumerate(self.names) if keep(name)]
        names, families = (tuple(x[i] for i in at) for x in (self.names, self.families))
        return Gallery(names, families, self.batch[at])

    def scaled(self, scale: float) -> Gallery:
        """All entries times ``scale``, rounded to the dtype; inf means 3e38 / max(m, n)."""
        m, n = self.batch.shape[1:]
        factor = 3e38 / max(m, n, 1) if math.isinf(scale) else scale
        names = tuple(f"{name} x {scale:g}" for name in self.names)
        batch = (self.truth * factor).to(self.batch.dtype)
        return Gallery(names, self.families, batch)


def _spectra(p: int, condition: float, generator: torch.Generator) -> dict[str, Tensor]:
    """Singular values of p-by-p problems with largest value 1 and smallest 1/condition."""
    low = 1.0 / condition
    x = torch.arange(p, dtype=torch.float64) / max(p - 1, 1)
    one_large, one_small = torch.full((p,), low).double(), torch.ones(p, dtype=torch.float64)
    one_large[:1], one_small[p - 1 :] = 1.0, low
    geometric = low**x
    uniform = torch.rand(p, generator=generator, dtype=torch.float64)
    uniform[:1], uniform[p - 1 :] = 0.0, 1.0
    steps = torch.floor(4 * torch.arange(p, dtype=torch.float64) / max(p, 1)) / 3
    tail = ((x - 0.5).clamp_min(0.0) * 2) * 0.9 + 0.1 * (x > 0.5)
    pairs = geometric.clone()
    pairs[1::2] = pairs[0 : 2 * (p // 2) : 2] * (1 - 1e-6)
    return {
        "one-large": one_large,
        "one-small": one_small,
        "geometric": geometric,
        "arithmetic": 1 - (1 - low) * x,
        "log-uniform": low ** uniform.sort().values,
        "staircase": low**steps,
        "plateau": low**tail,
        "pairs": pairs,
    }


def _fixed_spectra(p: int) -> dict[str, Tensor]:
    """Spectra without a condition to choose."""
    i = torch.arange(1, p + 1, dtype=torch.float64)
    half = max(p // 2, 1)
    exact = torch.where(i <= half, 0.5 ** (i - 1).clamp_max(20.0), 0.0)
    return {
        "poly-0.5": i**-0.5,
        "poly-1": i**-1.0,
        "poly-2": i**-2.0,
        "exponential": torch.exp(1 - i),
        "exact-rank": exact,
        "all-equal": torch.ones(p, dtype=torch.float64),
    }


def _orthonormal(rows: int, cols: int, generator: torch.Generator) -> Tensor:
    return torch.linalg.qr(torch.randn(rows, cols, generator=generator, dtype=torch.float64))[0]


def _structured(m: int, n: int, generator: torch.Generator) -> Iterator[tuple[str, Tensor]]:
    p = min(m, n)
    float64 = torch.float64
    normal = torch.randn(m, n, generator=generator, dtype=float64)
    rows, cols = torch.arange(m, dtype=float64)[:, None], torch.arange(n, dtype=float64)[None, :]
    eye = torch.eye(m, n, dtype=float64)

    def changed(change: Callable[[Tensor], object]) -> Tensor:
        copy = normal.clone()
        change(copy)
        return copy

    yield "normal", normal
    yield "zero", torch.zeros(m, n, dtype=float64)
    yield "identity", eye
    yield "negative-identity", -eye
    entry = torch.zeros(m, n, dtype=float64)
    entry[m // 2, n // 3] = -0.7
    yield "one-entry", entry
    yield "zero-row", changed(lambda a: a[m // 2].zero_())
    yield "zero-column-first", changed(lambda a: a[:, 0].zero_())
    yield "zero-column-middle", changed(lambda a: a[:, n // 2].zero_())
    yield "zero-column-last", changed(lambda a: a[:, -1].zero_())
    yield "duplicate-columns", changed(lambda a: a[:, 1::2].copy_(a[:, : 2 * (n // 2) : 2]))
    yield "near-duplicates", normal[:, :1] * (1 + 1e-7 * cols) + 1e-7 * normal
    yield "rank-1", normal[:, :1] * normal[:1]
    # Products of small integers: the rank survives the rounding to float32.
    left = torch.randint(-2, 3, (m, max(p // 2, 1)), generator=generator).double()
    right = torch.randint(-2, 3, (max(p // 2, 1), n), generator=generator).double()
    yield "integer-rank", left @ right / 4096
    s = math.sin(1.2)
    kahan = (torch.ones(m, n, dtype=float64).triu(1) * -math.cos(1.2) + eye) * s**rows
    yield "kahan", kahan
    yield "hilbert", 1.0 / (rows + cols + 1)
    yield "vandermonde", ((rows + 1) / m) ** cols
    lauchli = 2.0**-23 * torch.eye(m, n, dtype=float64).roll(1, 0)
    lauchli[0] = 1.0
    yield "lauchli", lauchli
    # Two diagonals 0.9 and 1: singular values far below the diagonal, as of a Jordan block.
    yield "bidiagonal", 0.9 * eye + torch.ones(m, n, dtype=float64).triu(1).tril(1)
    companion = torch.ones(m, n, dtype=float64).tril(-1).triu(-1)
    companion[:p, -1] = -0.5
    yield "companion", companion
    yield "spiked-rows", changed(lambda a: a[:: max(m // 3, 1)].mul_(1e5))
    yield "graded-rows", normal * 10.0 ** (-8 * rows / max(m - 1, 1))
    yield "graded-columns", normal * 10.0 ** (-8 * cols / max(n - 1, 1))
    values = 1e-7 ** (torch.arange(p, dtype=float64) / max(p - 1, 1))
    values[p // 2 :] = values[p // 2] * (1 - 1e-3 * torch.arange(p - p // 2, dtype=float64) / p)
    values[-1:] = 1e-7
    u, v = _orthonormal(m, p, generator), _orthonormal(n, p, generator)
    yield "bad-for-cholesky", (u * values) @ v.T
    yield "orthonormal", u @ v.T
    yield "permutation", eye[torch.randperm(m, generator=generator)]
    ring = torch.randn(max(m, n), generator=generator, dtype=float64)
    yield "circulant", ring[((cols - rows) % max(m, n)).long()]
    yield "random-sign", torch.where(normal < 0, -1.0, 1.0).double()
    kept = torch.rand(m, n, generator=generator, dtype=float64) < 0.01
    yield "sparse", torch.where(kept, normal, 0.0)


def _label(condition: float) -> str:
    return f"{condition:g}".replace("e+0", "e").replace("e+", "e")


def gallery(
    m: int,
    n: int,
    *,
    dtype: torch.dtype = torch.float32,
    families: Sequence[str] = FAMILIES,
    conditions: Sequence[float] | None = None,
    seed: int = 0,
) -> Gallery:
    """All matrices of one shape at natural scale: the largest entry of each is at most 1.

    Args:
        m: rows, at least 1.
        n: columns, at least 1.
        dtype: torch.float32, torch.bfloat16 for the rounded versions, or torch.float64 for the
            float32 numbers widened.
        families: which of FAMILIES.
        conditions: of the spectra; None takes CONDITIONS, three of them for large matrices.
        seed: of all random numbers.

    Example:
        >>> g = gallery(9, 7)
        >>> g.batch.shape[0] == len(g.names), g.matrix("zero").norm().item()
        (True, 0.0)
    """
    generator = torch.Generator().manual_seed(1_000_003 * seed + 1009 * m + n)
    p = min(m, n)
    if conditions is None:
        conditions = CONDITIONS if m * n <= LARGE else (1e2, 1e7, 1e10)
    found: list[tuple[str, str, Tensor]] = []
    if "spectrum" in families:
        u, v = _orthonormal(m, p, generator), _orthonormal(n, p, generator)
        spectra = _fixed_spectra(p)
        for condition in conditions:
            for name, s in _spectra(p, condition, generator).items():
                if condition > 1.0 or name == "geometric":  # all are alike at condition 1
                    spectra[f"{name}-{_label(condition)}"] = s
        found += [(name, "spectrum", (u * s) @ v.T) for name, s in spectra.items()]
    if "structured" in families:
        found += [(name, "structured", a) for name, a in _structured(m, n, generator)]
    if "subnormal" in families:
        normal = torch.randn(m, n, generator=generator, dtype=torch.float64)
        few = torch.where(torch.rand(m, n, generator=generator) < 0.3, 1e-39, 1.0).double()
        found.append(("subnormal", "subnormal", normal * 2.0**-135))
        found.append(("some-subnormal", "subnormal", normal / 8 * few))
    names, kinds, matrices = zip(*found, strict=True)
    batch = torch.stack([_at_most_one(a) for a in matrices])
    return Gallery(names, kinds, batch.to(torch.float32).to(dtype))


def _at_most_one(a: Tensor) -> Tensor:
    """The matrix divided by the power of two that brings its largest entry to at most 1."""
    largest = float(a.abs().max()) if a.numel() else 0.0
    return a * 2.0 ** -math.ceil(math.log2(largest)) if largest > 1 else a


@dataclass(frozen=True)
class Poisoned:
    """A batch of five of which one matrix is not finite."""

    name: str
    batch: Tensor
    position: int

    @property
    def others(self) -> Tensor:
        """The batch without that matrix."""
        return torch.cat([self.batch[: self.position], self.batch[self.position + 1 :]])


def nonfinite(
    m: int, n: int, *, dtype: torch.dtype = torch.float32, seed: int = 0
) -> Iterator[Poisoned]:
    """One NaN, one +inf, one -inf, all NaN: each as the first, middle and last of five."""
    generator = torch.Generator().manual_seed(1_000_003 * seed + 1009 * m + n)
    clean = torch.randn(5, m, n, generator=generator).to(dtype)
    for kind, value in (("nan", math.nan), ("inf", math.inf), ("-inf", -math.inf)):
        for position in (0, 2, 4):
            batch = clean.clone()
            batch[position, (7 * m) // 11, (5 * n) // 9] = value
            yield Poisoned(f"one {kind} in {position}", batch, position)
    for position in (0, 2, 4):
        batch = clean.clone()
        batch[position] = math.nan
        yield Poisoned(f"all nan in {position}", batch, position)


def gradient(
    m: int, n: int, *, tokens: int | None = None, dtype: torch.dtype = torch.float32, seed: int = 0
) -> Tensor:
    """A gradient E^T A of errors E and activations A over tokens, a few of them outliers.

    Features have a spectrum i^-1/2 in random directions, one token in twenty is ten times as large.
    """
    generator = torch.Generator().manual_seed(seed)
    tokens = 2 * min(m, n) if tokens is None else tokens

    def factor(features: int) -> Tensor:
        x = torch.randn(tokens, features, generator=generator)
        x *= torch.arange(1, features + 1)[torch.randperm(features, generator=generator)] ** -0.5
        return x

    loud = torch.where(torch.rand(tokens, 1, generator=generator) < OUTLIERS, 10.0, 1.0)
    g = (loud * factor(m)).T @ factor(n)
    return (g * (m * n) ** 0.5 / torch.linalg.vector_norm(g)).to(dtype)


def drifting(
    m: int,
    n: int,
    drift: float,
    *,
    count: int = 10,
    dtype: torch.dtype = torch.float32,
    seed: int = 0,
) -> Iterator[Tensor]:
    """Gradients that change by ``drift`` of their norm from one to the next, norms all equal."""
    size = (m * n) ** 0.5
    g = gradient(m, n, seed=1000 * seed)
    for i in range(count):
        if i:
            fresh = gradient(m, n, seed=1000 * seed + i)
            g = g + drift * fresh
            g *= size / torch.linalg.vector_norm(g)
        yield g.to(dtype)
