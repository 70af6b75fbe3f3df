"""Barriers, shared memory, indices and atomics of the emulator of CUDA kernels."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor

import pytest
import torch

SEEDS = range(5)
MISSING = {"none": 0, "before the tree": 1, "inside the tree": 2, "between two sums": 3}


def reduce(probes, missing: str, seed: int) -> torch.Tensor:
    x = torch.randn(3, 128, generator=torch.Generator().manual_seed(1))
    sums = torch.full((3, 128, 2), float("nan"))
    probes.seed(seed)
    probes("reduce", MISSING[missing], 3, x, sums)
    return sums


def tree_sum(x: torch.Tensor) -> torch.Tensor:
    """The kernel's order of additions, so that the comparison is exact."""
    while x.shape[-1] > 1:
        half = x.shape[-1] // 2
        x = x[..., :half] + x[..., half:]
    return x


def test_reduction_is_exact_on_every_seed(probes):
    x = torch.randn(3, 128, generator=torch.Generator().manual_seed(1))
    expected = torch.stack([tree_sum(x), tree_sum(x * x)], dim=-1).expand(3, 128, 2)
    for seed in SEEDS:
        assert torch.equal(reduce(probes, "none", seed), expected)


@pytest.mark.parametrize("missing", [name for name in MISSING if name != "none"])
def test_forgotten_barrier_shows(probes, missing):
    correct = reduce(probes, "none", 0)
    wrong = [not torch.equal(reduce(probes, missing, seed), correct) for seed in SEEDS]
    assert all(wrong)


def test_race_hidden_by_the_natural_order_shows_on_a_seed(probes):
    expected = torch.arange(64.0).sub(1).clamp(min=0)
    out = torch.empty(64)
    probes("lucky", out)
    assert torch.equal(out, expected)
    for seed in SEEDS[1:]:
        probes.seed(seed)
        probes("lucky", out)
        assert out.isnan().any()  # the neighbour had not run: its value was never written


def test_a_seed_repeats_its_order(probes):
    def holes(seed: int) -> list[bool]:
        out = torch.empty(64)
        probes.seed(seed)
        probes("lucky", out)
        return out.isnan().tolist()

    assert holes(7) == holes(7)
    assert holes(7) != holes(8)


@pytest.mark.parametrize("dynamic", [0, 1, 21])
def test_shared_memory_starts_each_block_as_nan(probes, dynamic):
    seen = torch.zeros(3, 16 + dynamic)
    probes("unwritten", 3, seen, dynamic)
    assert seen.isnan().all()
    assert (seen.view(torch.int32) == -1).all()


@pytest.mark.parametrize("threads", [1, 31, 33, 100, 1024])
def test_dynamic_shared_memory(probes, threads):
    x = torch.randn(3, threads, dtype=torch.float64)
    for seed in SEEDS:
        out = torch.zeros_like(x)
        probes.seed(seed)
        probes("reverse", 3, threads, x, out)
        assert torch.equal(out, x.flip(1))


@pytest.mark.parametrize(
    ("grid", "block"),
    [
        ((5, 1, 1), (1, 1, 1)),
        ((7, 3, 1), (33, 1, 1)),
        ((2, 3, 4), (3, 5, 7)),
        ((1, 2, 3), (8, 2, 64)),
        ((2, 1, 2), (1, 1024, 1)),
    ],
)
@pytest.mark.parametrize("seed", [0, 3])
def test_every_index_runs_once(probes, grid, block, seed):
    count = torch.tensor([*grid, *block]).prod().item()
    out = torch.zeros(count, dtype=torch.int64)
    probes.seed(seed)
    sizes = [torch.tensor(size, dtype=torch.int32) for size in (grid, block)]
    probes("indices", *sizes, out)
    assert torch.equal(out, torch.arange(1, count + 1))


@pytest.mark.parametrize("threads", [1, 32, 45])
@pytest.mark.parametrize("bits", ["none", "some", "all"])
def test_barriers_that_count(probes, threads, bits):
    x = torch.full((threads,), int(bits == "all"), dtype=torch.int32)
    if bits == "some":
        x[threads // 2 :: 3] = -4
    out = torch.full((threads, 3), -1, dtype=torch.int32)
    probes("predicates", threads, x, out)
    nonzero = int((x != 0).sum())
    expected = torch.tensor([nonzero > 0, nonzero == threads, nonzero]).to(torch.int32)
    assert torch.equal(out, expected.expand(threads, 3))


@pytest.mark.parametrize("seed", SEEDS)
def test_atomics(probes, seed):
    blocks, threads = 5, 67
    total = blocks * threads
    totals = torch.zeros(10, dtype=torch.int32)  # struct Totals of probes/blocks.cu
    totals[3] = -1
    old_values = torch.zeros(total, dtype=torch.int32)
    probes.seed(seed)
    probes("atomics", blocks, threads, totals, old_values)
    assert old_values.eq(1).all()  # each old value was returned to one thread
    assert totals[:4].tolist() == [total, total - 1, -1, -256]
    assert totals[4:6].view(torch.int64).item() == total << 33
    assert totals[6:7].view(torch.float32).item() == total / 2
    assert totals[7:9].tolist() == [1 - total, total]


@pytest.mark.parametrize("blocks", [1, 9])
def test_last_block_adds_up(probes, blocks):
    x = torch.randn(blocks, 64, generator=torch.Generator().manual_seed(2))
    expected = torch.zeros(1)
    for block in tree_sum(x):
        expected += block
    for seed in SEEDS:
        partial, arrived = torch.full((blocks,), float("nan")), torch.zeros(1, dtype=torch.int32)
        result = torch.full((1,), float("nan"))
        probes.seed(seed)
        probes("last_block", blocks, x, partial, arrived, result)
        assert torch.equal(result, expected)
        assert arrived.item() == blocks


def test_launches_from_several_threads_take_turns(probes):
    expected = reduce(probes, "none", 1)
    with ThreadPoolExecutor(4) as pool:
        results = list(pool.map(lambda _: reduce(probes, "none", 1), range(16)))
    assert all(torch.equal(result, expected) for result in results)


def test_switches_are_counted(probes):
    before = probes.switches()
    probes("wait_often", 2, 64, 10)
    # Per block: each thread starts once and wakes ten times; then the host goes on.
    assert probes.switches() - before == 2 * (64 * 11 + 1)
