"""The official packages, and the published step written out in float64, to judge ours against."""

from __future__ import annotations

from dataclasses import dataclass

import pytest
import torch
from torch import Tensor

from subkern.bench import peers
from subkern.optim import FiraAdamW, GaLoreAdamW, _refresh

OURS = {"galore": GaLoreAdamW, "fira": FiraAdamW}
SCALE_KEY = {"galore": "scale", "fira": "alpha"}


def official(kind: str):
    """The official optimizer class; skips when its package is missing."""
    try:
        return peers.adamw(kind)
    except ImportError as error:
        pytest.skip(str(error))


def canonical_side(shape, proj_type: str) -> str:
    """The side rule, restated here so that a slip in the package cannot hide."""
    m, n = shape
    tall = {"std": "right", "reverse_std": "left"}
    wide = {"std": "left", "reverse_std": "right"}
    return (tall if m >= n else wide).get(proj_type, proj_type)


def official_bases(projector, side: str) -> list[Tensor]:
    """The official basis as we store it: k x r columns, two of them for full."""
    matrix = projector.ortho_matrix
    if side == "full":
        return [matrix[0].contiguous(), matrix[1].T.contiguous()]
    return [(matrix if side == "left" else matrix.T).contiguous()]


def svd_bases(G: Tensor, rank: int, side: str) -> list[Tensor]:
    """Exact bases in the dtype of G."""
    U, _, Vh = torch.linalg.svd(G.double(), full_matrices=False)
    both = [U[:, :rank].to(G.dtype), Vh[:rank].T.to(G.dtype)]
    return {"left": both[:1], "right": both[1:], "full": both}[side]


@dataclass
class Literal:
    """GaLore's and Fira's step as published, every matrix built; in float64 unless told."""

    W: Tensor
    kind: str
    side: str
    lr: float = 1e-3
    scale: float = 1.0
    weight_decay: float = 0.0
    correct_bias: bool = True
    betas: tuple[float, float] = (0.9, 0.999)
    eps: float = 1e-6
    gamma: float = 1.01
    dtype: torch.dtype = torch.float64
    t: int = 0
    prev: float | None = None
    fired: int = 0
    M: Tensor | float = 0.0
    V: Tensor | float = 0.0

    def __post_init__(self):
        self.W = self.W.detach().to(self.dtype, copy=True)

    def step(self, G: Tensor, bases: list[Tensor]) -> None:
        G, P, Q = (t.to(self.dtype) for t in (G, bases[0], bases[-1]))
        down = {
            "left": lambda X: P.T @ X,
            "right": lambda X: X @ Q,
            "full": lambda X: P.T @ X @ Q,
        }[self.side]
        up = {
            "left": lambda R: P @ R,
            "right": lambda R: R @ Q.T,
            "full": lambda R: P @ R @ Q.T,
        }[self.side]
        self.t += 1
        R = down(G)
        b1, b2 = self.betas
        self.M = b1 * self.M + (1 - b1) * R
        self.V = b2 * self.V + (1 - b2) * R**2
        N = self.M / (self.V.sqrt() + self.eps)
        eta = self.lr
        if self.correct_bias:
            eta *= (1 - b2**self.t) ** 0.5 / (1 - b1**self.t)
        U = self.scale * up(N)
        if self.kind == "fira":
            U = U + self._limited_residual(G, R, N, up)
        self.W = (self.W - eta * U) * (1 - self.lr * self.weight_decay)

    def _limited_residual(self, G, R, N, up):
        axis = {"left": 0, "right": 1, "full": (0, 1)}[self.side]
        phi = N.norm(dim=axis, keepdim=True) / (R.norm(dim=axis, keepdim=True) + 1e-8)
        S = phi * (G - self.scale * up(R))
        size = float(S.norm())
        if self.prev is None:
            self.prev = size
            return S
        L = max(size / (self.prev + 1e-8), self.gamma) / self.gamma
        self.fired += L > 1
        self.prev = size / L
        return S / L


def relative(actual: Tensor, expected: Tensor) -> float:
    """Relative Frobenius error, in float64."""
    actual, expected = actual.detach().double(), expected.detach().double()
    return float((actual - expected).norm() / expected.norm().clamp_min(1e-300))


def inject_bases(monkeypatch, bases_of):
    """Every refresh of ours takes ``bases_of(gradient, rank, side)`` for its bases."""

    def refresh_basis(kind, G, rank, side, previous, seed, *, on_host=False):
        return bases_of(G, rank, side), torch.tensor(True)

    monkeypatch.setattr(_refresh, "refresh_basis", refresh_basis)
