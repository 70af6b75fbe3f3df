"""Warp operations of the emulator, against a model of CUDA's rules in Python."""

from __future__ import annotations

import functools
import operator

import pytest
import torch

FULL = 0xFFFFFFFF
KINDS = ("index", "up", "down", "xor")
DTYPES = {
    "int32": torch.int32,
    "uint32": torch.int32,
    "float32": torch.float32,
    "float64": torch.float64,
    "int64": torch.int64,
}


def source_of(kind: str, lane: int, amount: int, width: int) -> int:
    """The lane that a shuffle reads, as the programming guide says."""
    first = lane // width * width
    last = first + width - 1
    if kind == "index":
        return first + amount % width
    if kind == "up":
        return lane - amount if lane - amount >= first else lane
    source = lane + amount if kind == "down" else lane ^ amount
    return source if source <= last else lane


def values(dtype: torch.dtype, count: int) -> torch.Tensor:
    generator = torch.Generator().manual_seed(0)
    if dtype.is_floating_point:
        return torch.randn(count, dtype=dtype, generator=generator)
    limits = torch.iinfo(dtype)
    return torch.randint(limits.min, limits.max, (count,), dtype=dtype, generator=generator)


@pytest.mark.parametrize("name", DTYPES)
@pytest.mark.parametrize("kind", KINDS)
def test_shuffle(probes, name, kind):
    x = values(DTYPES[name], 96)
    for seed in range(5):
        probes.seed(seed)
        for width in (1, 2, 8, 32):
            for amount in (0, 1, 3, 16, 31):
                out = torch.zeros_like(x)
                probes(f"shuffle_{name}", 96, KINDS.index(kind), FULL, amount, width, x, out)
                sources = [i // 32 * 32 + source_of(kind, i % 32, amount, width) for i in range(96)]
                assert torch.equal(out, x[sources]), (width, amount)


@pytest.mark.parametrize("mask", [0x1, 0xFF, 0xFF00FF00, 0xF0F0F0F0])
def test_shuffle_among_some_lanes(probes, mask):
    x = values(torch.int32, 64)
    out = torch.zeros_like(x)
    width = 1 if mask == 1 else 4
    probes("shuffle_int32", 64, KINDS.index("xor"), mask, width // 2, width, x, out)
    lanes = torch.tensor([mask >> (i % 32) & 1 for i in range(64)], dtype=torch.bool)
    exchanged = x[torch.arange(64) ^ (width // 2)]
    assert torch.equal(out, torch.where(lanes, exchanged, torch.zeros_like(x)))


def test_shuffle_in_a_block_of_odd_size(probes):
    x = values(torch.float32, 40)  # the second warp has eight lanes
    out = torch.zeros_like(x)
    probes("shuffle_float32", 40, KINDS.index("xor"), FULL, 4, 8, x, out)
    assert torch.equal(out, x[torch.arange(40) ^ 4])


@pytest.mark.parametrize("kind", ["up", "down", "xor"])
def test_shuffle_from_no_lane(probes, kind):
    x = values(torch.int32, 32)
    with pytest.raises(RuntimeError, match=f"__shfl_{kind}_sync: the source is not a lane"):
        probes("shuffle_int32", 32, KINDS.index(kind), FULL, -64, 32, x, torch.zeros_like(x))


def unsigned(value: int) -> int:
    return value & FULL


@pytest.mark.parametrize("threads", [64, 52])
@pytest.mark.parametrize("seed", range(5))
@pytest.mark.parametrize("density", [0.0, 0.5, 1.0])
def test_votes_and_reductions(probes, threads, seed, density):
    generator = torch.Generator().manual_seed(seed)
    x = torch.randint(-9, 9, (threads,), dtype=torch.int32, generator=generator) * 2 + 1
    x[torch.rand(threads, generator=generator) >= density] = 0
    out = torch.zeros(threads, 9, dtype=torch.int32)
    probes.seed(seed)
    probes("votes", threads, x, out)
    for i, row in enumerate(out.tolist()):
        half = range(i // 16 * 16, min(i // 16 * 16 + 16, threads))
        warp = x[i // 32 * 32 : i // 32 * 32 + 32].tolist()
        ballot = sum(1 << (j % 32) for j in half if x[j] != 0)
        present = sum(1 << (j % 32) for j in half)
        raw = [unsigned(value) for value in warp]
        expected = [
            *(ballot, ballot != 0, ballot == present),
            *(sum(warp), min(warp), max(warp)),
            *(functools.reduce(operator.and_, raw), functools.reduce(operator.or_, raw), max(raw)),
        ]
        assert [unsigned(value) for value in row] == [unsigned(int(value)) for value in expected]


def test_a_warp_works_while_another_waits_for_the_block(probes):
    for seed in range(5):
        out = torch.zeros(64, dtype=torch.int32)
        probes.seed(seed)
        probes("one_warp_works", out)
        assert out.eq(sum(range(32, 64))).all()


def test_syncwarp_orders_memory(probes):
    for seed in range(5):
        out = torch.zeros(128, dtype=torch.int32)
        probes.seed(seed)
        probes("exchange", 128, out)
        assert torch.equal(out, torch.arange(128, dtype=torch.int32) ^ 1)
