"""Weighted sampling without replacement by Gumbel keys over Philox noise, in plain PyTorch.

The noise is a function of (seed, offset, row, column) alone, the same on every backend:

- Philox 4x32-10 with key = seed (low word first) and counter = (offset low, offset high, row,
  16 (column // 64) + column % 16); the column takes output column // 16 % 4. So the four outputs
  serve four columns, and 16 neighbouring counters serve 64 columns without a transposition.
- A word x becomes v = min(float(x >> 1) 2^-31 + 2^-32, 1 - 2^-24), rounded to float32 at each
  operation, and u = 1 - v: never 0 or 1, in steps of at most 2^-24, and finest near u = 1, where
  the winners are.
"""

from __future__ import annotations

import torch
from torch import Tensor

INVALID, SHORT = 1, 2
MASK = 0xFFFFFFFF
MULTIPLIERS = (0xD2511F53, 0xCD9E8D57)
KEY_STEPS = (0x9E3779B9, 0xBB67AE85)
ROUNDS = 10
INFINITE = 4096.0  # the logarithm of an infinite weight: above every finite key


def _product(a: Tensor, b: int) -> tuple[Tensor, Tensor]:
    """(high, low) words of a * b; 64-bit integers are signed, so b goes in halves."""
    low = a * (b & 0xFFFF)
    high = a * (b >> 16) + (low >> 16)
    return high >> 16, (high << 16 | low & 0xFFFF) & MASK


def philox(counter: list[Tensor], key: tuple[int, int]) -> list[Tensor]:
    """Philox 4x32-10: four words for each counter, as int64 tensors of values below 2^32.

    Salmon et al., "Parallel random numbers: as easy as 1, 2, 3", SC 2011.
    """
    c0, c1, c2, c3 = counter
    k0, k1 = key
    for _ in range(ROUNDS):
        high0, low0 = _product(c0, MULTIPLIERS[0])
        high1, low1 = _product(c2, MULTIPLIERS[1])
        c0, c1, c2, c3 = high1 ^ c1 ^ k0, low1, high0 ^ c3 ^ k1, low0
        k0, k1 = (k0 + KEY_STEPS[0]) & MASK, (k1 + KEY_STEPS[1]) & MASK
    return [c0, c1, c2, c3]


def noise(rows: int, columns: int, seed: int, offset: int, device: torch.device) -> Tensor:
    """(rows, columns) float32: the v of the module's docstring."""
    groups = -(-columns // 64)
    block = torch.arange(16 * groups, device=device)[None].expand(rows, -1)
    row = torch.arange(rows, device=device)[:, None].expand_as(block)
    words = torch.full_like(block, offset & MASK), torch.full_like(block, offset >> 32 & MASK)
    outputs = philox([*words, row, block], (seed & MASK, seed >> 32 & MASK))
    bits = torch.stack(outputs, -1).view(rows, groups, 16, 4).transpose(2, 3)
    x = bits.reshape(rows, 64 * groups)[:, :columns]
    return ((x >> 1).to(torch.float32) * 2.0**-31 + 2.0**-32).clamp_max(1.0 - 2.0**-24)


def sample_without_replacement(
    weights: Tensor, gather: list[Tensor], *, k: int, seed: int, offset: int, sorted: bool
) -> tuple[Tensor, Tensor, list[Tensor]]:
    """(idx, info, gathered) of (b, n) weights.

    See :func:`subkern.ops.sample_without_replacement.sample_without_replacement`.
    """
    w = weights.double()
    bad = (w.isnan() | (w < 0)).any(1)
    race = -torch.log1p(-noise(w.shape[0], w.shape[1], seed, offset, w.device).double())  # -log u
    logs = torch.where(w.isinf(), INFINITE, w.log())
    keys = torch.where(w > 0, logs - race.log(), -torch.inf)
    # Stable: ties by index, and so the zero weights, which all have one key.
    idx = keys.argsort(dim=1, descending=True, stable=True)[:, :k]
    if sorted:
        idx = idx.sort(dim=1)[0]
    idx = idx.masked_fill(bad[:, None], -1)
    short = (w > 0).sum(1) < k
    info = torch.where(bad, INVALID, torch.where(short, SHORT, 0)).to(torch.int32)
    return idx, info, [gathered(source, idx) for source in gather]


def gathered(source: Tensor, idx: Tensor) -> Tensor:
    """(b, k, d): the rows ``idx`` of (b, n, d); zero where the index is -1."""
    b, k = idx.shape
    where = idx.clamp_min(0)[:, :, None].expand(b, k, source.shape[2])
    if not source.shape[1]:
        return source.new_zeros(where.shape)
    return source.gather(1, where).masked_fill((idx < 0)[:, :, None], 0)
