"""Checks of weighted samples against keys in float64, and weights to draw by."""

from __future__ import annotations

import torch
from torch import Tensor

from subkern.reference.sample_without_replacement import noise

KINDS = ("uniform", "equal", "wide", "sparse", "rising")
NEAR = 1e-5  # keys closer than this may be taken in either order


def weights(kind: str, rows: int, columns: int) -> Tensor:
    """float32 weights of a kind; the same at each call."""
    generator = torch.Generator().manual_seed(rows + 31 * columns)
    x = torch.rand(rows, columns, generator=generator)
    if kind == "equal":
        return torch.ones_like(x)
    if kind == "wide":
        return torch.exp(60 * torch.randn(rows, columns, generator=generator)).clamp(1e-45, 3e38)
    if kind == "sparse":
        return x * (torch.rand(rows, columns, generator=generator) < 0.1)
    if kind == "rising":  # each beats most of those before it
        return torch.linspace(0, 90, columns).exp2().expand(rows, columns).contiguous() / 2**40
    return x


def keys(w: Tensor, seed: int, offset: int) -> Tensor:
    """log w - log(-log u) in float64, -inf for a zero weight."""
    v = noise(w.shape[0], w.shape[1], seed, offset, w.device).double()
    return w.double().log() - (-torch.log1p(-v)).log()


def check_sets(w: Tensor, idx: Tensor, *, seed: int, offset: int) -> None:
    """Ascending columns, of which none drawn is far below one left out."""
    found = keys(w, seed, offset)
    k = idx.shape[1]
    if not k:
        return
    assert (idx.diff(dim=1) > 0).all(), "columns must ascend"
    assert idx.min() >= 0
    assert idx.max() < w.shape[1]
    drawn = torch.zeros_like(w, dtype=torch.bool).scatter(1, idx, True)
    lowest = torch.where(drawn, found, torch.inf).amin(1)
    highest = torch.where(drawn, -torch.inf, found).amax(1)
    short = torch.isneginf(lowest) & torch.isneginf(highest)
    assert (short | (lowest >= highest - NEAR)).all(), "a better column was left out"
    # Zero weights fill up from the left.
    zero = w == 0
    ranks = torch.cumsum(zero, 1) - 1
    filled = (drawn & zero).sum(1, keepdim=True)
    assert torch.equal(drawn & zero, zero & (ranks < filled)), "not the lowest zero weights"


def check_order(w: Tensor, idx: Tensor, *, seed: int, offset: int) -> None:
    """Keys fall along the sample, and equal ones have ascending columns."""
    along = keys(w, seed, offset).gather(1, idx)
    both = torch.isneginf(along[:, 1:]) & torch.isneginf(along[:, :-1])
    steps = torch.where(both, 0.0, along[:, 1:].clamp_min(-1e4) - along[:, :-1].clamp_min(-1e4))
    assert (steps <= NEAR).all(), "keys must fall"
    assert (idx.diff(dim=1)[both] > 0).all(), "zero weights must ascend"
