"""When the basis is refreshed: reference phase, staggered phase, and calls with bad gradients."""

from __future__ import annotations

import copy

import pytest
import torch

from subkern.optim import FiraAdamW, GaLoreAdamW


def run(optimizer, params, gradients):
    """Calls (from 1) on which each parameter was refreshed."""
    refreshed = [[] for _ in params]
    for call, grads in enumerate(gradients, 1):
        before = [int(optimizer.state[p]["refreshes"]) for p in params]
        for p, g in zip(params, grads, strict=True):
            p.grad = g
        optimizer.step()
        for i, p in enumerate(params):
            if int(optimizer.state[p]["refreshes"]) > before[i]:
                refreshed[i].append(call)
    return refreshed


def setup(cls=GaLoreAdamW, count=1, **group):
    torch.manual_seed(0)
    params = [torch.nn.Parameter(torch.randn(12, 20)) for _ in range(count)]
    group = dict(params=params, rank=3, update_proj_gap=4) | group
    return cls([group], lr=0.01), params


def gradients(calls, count=1, seed=1):
    generator = torch.Generator().manual_seed(seed)
    return [[torch.randn(12, 20, generator=generator) for _ in range(count)] for _ in range(calls)]


@pytest.mark.parametrize("basis", ["svd", "warm", "rsvd"])
@pytest.mark.parametrize("gap", [1, 2, 4, 7])
def test_reference_phase(backend, basis, gap):
    optimizer, params = setup(basis=basis, update_proj_gap=gap)
    assert run(optimizer, params, gradients(15)) == [list(range(1, 16, gap))]


def test_no_refresh_between(backend):
    optimizer, (p,) = setup(FiraAdamW)
    bases = []
    for (g,) in gradients(9):
        p.grad = g
        optimizer.step()
        bases.append(optimizer.state[p]["basis"].clone())
    changed = [i + 1 for i in range(1, 9) if not torch.equal(bases[i], bases[i - 1])]
    assert changed == [5, 9]


def test_staggered_phase_spreads_the_refreshes(backend):
    optimizer, params = setup(count=4, update_proj_gap=8, phase="staggered")
    saved = optimizer.state_dict()["state"]
    assert [int(saved[i]["offset"]) for i in range(4)] == [0, 2, 4, 6]
    refreshed = run(optimizer, params, gradients(25, 4))
    assert refreshed == [[1, 9, 17, 25], [1, 7, 15, 23], [1, 5, 13, 21], [1, 3, 11, 19]]
    for first in range(2, 18):  # from call 2 on: each parameter once in every gap
        window = [sum(first <= call < first + 8 for call in calls) for calls in refreshed]
        assert window == [1, 1, 1, 1]


@pytest.mark.parametrize("bad", [0.0, float("nan"), float("inf")])
def test_first_refresh_waits_for_a_good_gradient(backend, bad):
    optimizer, (p,) = setup()
    bases = gradients(7)
    for i in (0, 1):
        bases[i][0] = torch.full((12, 20), bad)
    assert run(optimizer, [p], bases) == [[3, 7]]
    assert all(torch.isfinite(t).all() for t in optimizer.state[p].values())
    assert torch.isfinite(p).all()


@pytest.mark.parametrize("bad", [0.0, float("nan")])
def test_later_refresh_is_not_lost(backend, bad):
    """A bad gradient on a refresh call leaves the old basis, and the next call refreshes."""
    optimizer, (p,) = setup()
    grads = gradients(10)
    grads[4][0] = torch.full((12, 20), bad)
    old = {}
    run(optimizer, [p], grads[:4])
    old = optimizer.state[p]["basis"].clone()
    assert run(optimizer, [p], grads[4:5]) == [[]]
    assert torch.equal(optimizer.state[p]["basis"], old)
    assert run(optimizer, [p], grads[5:]) == [[1, 5]]


@pytest.mark.parametrize("cls", [GaLoreAdamW, FiraAdamW])
@pytest.mark.parametrize("before", [0, 4, 6])
def test_zero_step_of_distributed_checkpointing(backend, cls, before):
    """One step with zero gradients and lr 0: bases and refreshes go on as if it had not refreshed.

    ``before`` calls come first: 0 and 4 put the zero step on a refresh call, 6 between two.
    """
    optimizer, (p,) = setup(cls)
    grads = gradients(before + 12)
    run(optimizer, [p], grads[:before])
    other, (q,) = copy.deepcopy((optimizer, [p]))
    weights = p.detach().clone()
    counted = before % 4 != 0  # only a call without a due refresh takes its place in the gap

    for group in optimizer.param_groups:
        group["lr"] = 0.0
    state = {k: v.clone() for k, v in optimizer.state[p].items()}
    run(optimizer, [p], [[torch.zeros(12, 20)]])
    for group in optimizer.param_groups:
        group["lr"] = 0.01
    assert torch.equal(p, weights)
    assert torch.equal(optimizer.state[p]["basis"], state["basis"])
    assert all(torch.isfinite(t).all() for t in optimizer.state[p].values())

    # The moments decay and t counts; the rest is a run that never saw the zero step.
    later = other.state[q]
    for name in ("exp_avg", "exp_avg_sq", "step", "limiter"):
        if name in later:
            later[name].copy_(optimizer.state[p][name])
    later["calls"] += int(counted)
    assert run(optimizer, [p], grads[before:]) == run(other, [q], grads[before:])
    assert torch.equal(p, q)
    for name, value in optimizer.state[p].items():
        assert torch.equal(value, later[name]), name


def test_warm_starts_from_its_own_basis(backend):
    """A second parameter with the same gradients but another index has its own random start."""
    optimizer, params = setup(count=2, basis="rsvd")
    for (g,) in gradients(5):
        for p in params:
            p.grad = g.clone()
        optimizer.step()
    first, second = (optimizer.state[p]["basis"] for p in params)
    assert not torch.equal(first, second)


def test_runs_repeat_bit_for_bit_and_leave_the_generator(backend):
    results = []
    for seed in (1, 2):
        optimizer, params = setup(FiraAdamW, count=2)
        torch.manual_seed(seed)
        before = torch.get_rng_state()
        run(optimizer, params, gradients(9, 2))
        assert torch.equal(torch.get_rng_state(), before)
        results.append([p.detach().clone() for p in params])
    assert all(map(torch.equal, *results))


def test_seed_changes_the_random_start(backend):
    bases = []
    for seed in (0, 1):
        optimizer, params = setup(basis="rsvd", seed=seed)
        run(optimizer, params, gradients(1))
        bases.append(optimizer.state[params[0]]["basis"].clone())
    assert not torch.equal(*bases)
