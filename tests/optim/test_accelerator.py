"""The rules of an accelerator, with real numbers: CPU tensors that the host must not read."""

from __future__ import annotations

import copy

import pytest
import torch

from subkern.optim import FiraAdamW, GaLoreAdamW, _basis, _engine, _refresh

from .fake_cuda import FakeStream
from .small import GAP, METHODS, small_model, small_optimizer, train
from .test_refresh import assert_orthonormal, captured, decaying
from .test_schedule import gradients, run, setup


@pytest.fixture
def accelerator(monkeypatch):
    """The host learns nothing about a refresh; what it would read from the verdict fails."""
    inner = _refresh.refresh_basis

    def refresh_basis(*args, on_host=False):
        assert not on_host, "the host asked for the verdict"
        return inner(*args, on_host=on_host)

    monkeypatch.setattr(_refresh, "host_may_read", lambda p: False)
    monkeypatch.setattr(_refresh, "refresh_basis", refresh_basis)


@pytest.mark.parametrize("cls", METHODS)
@pytest.mark.parametrize("basis", ["svd", "warm", "rsvd"])
@pytest.mark.parametrize("proj_type", ["std", "full"])
@pytest.mark.parametrize("phase", ["reference", "staggered"])
def test_good_gradients_give_the_same_run(backend, monkeypatch, cls, basis, proj_type, phase):
    results = []
    for on_host in (True, False):
        monkeypatch.setattr(_refresh, "host_may_read", lambda p, on_host=on_host: on_host)
        model = small_model()
        engine = dict(basis=basis, proj_type=proj_type, phase=phase)
        optimizer = small_optimizer(cls, model, **engine)
        train(model, optimizer, 3 * GAP + 2)
        results.append((model, optimizer))
    (model, optimizer), (other, loaded) = results
    for p, q in zip(model.parameters(), other.parameters(), strict=True):
        assert torch.equal(p, q)
        for name, value in optimizer.state[p].items():
            assert torch.equal(value, loaded.state[q][name]), name


def changed_calls(optimizer, p, grads):
    """Calls (from 1) that changed the basis, and the counters after each."""
    changes, counters = [], []
    for call, (g,) in enumerate(grads, 1):
        before = optimizer.state[p]["basis"].clone()
        p.grad = g
        optimizer.step()
        state = optimizer.state[p]
        if not torch.equal(state["basis"], before):
            changes.append(call)
        counters.append((int(state["calls"]), int(state["refreshes"])))
    return changes, counters


@pytest.mark.parametrize("bad", [0.0, float("nan"), float("inf")])
@pytest.mark.parametrize("good_from", [2, 3, 4, 5, 9])
def test_refused_first_refresh_is_tried_again(backend, accelerator, bad, good_from):
    """Call 1 is refused; the first of calls 2, 4, 8 with a good gradient sets the basis."""
    optimizer, (p,) = setup(update_proj_gap=20)
    grads = gradients(16)
    for i in range(good_from - 1):
        grads[i][0] = torch.full((12, 20), bad)
    changes, counters = changed_calls(optimizer, p, grads)
    assert changes == [next(c for c in (2, 4, 8, 16) if c >= good_from)]
    assert counters == [(call, 1) for call in range(1, 17)]
    basis = optimizer.state[p]["basis"]
    assert_orthonormal([basis])
    assert captured(grads[changes[0] - 1][0], [basis], "left") >= 0.85  # noise has no spectrum
    assert torch.isfinite(p).all()


def test_retries_end_with_the_second_refresh(backend, accelerator, monkeypatch):
    seen = []
    inner = _refresh.refresh_basis

    def refresh_basis(*args, **options):
        seen.append(int(optimizer.state[p]["calls"]) + 1)
        return inner(*args, **options)

    monkeypatch.setattr(_refresh, "refresh_basis", refresh_basis)
    optimizer, (p,) = setup(update_proj_gap=6)
    run(optimizer, [p], gradients(20))
    assert seen == [1, 2, 4, 7, 13, 19]


def test_retry_leaves_a_basis_that_was_found(backend, accelerator):
    optimizer, (p,) = setup(update_proj_gap=20)
    assert changed_calls(optimizer, p, gradients(17))[0] == [1]


@pytest.mark.parametrize("basis", ["svd", "warm", "rsvd"])
@pytest.mark.parametrize("bad", [0.0, float("nan")])
def test_refused_later_refresh_keeps_the_basis(backend, accelerator, bad, basis):
    optimizer, (p,) = setup(basis=basis)
    grads = gradients(10)
    grads[4][0] = torch.full((12, 20), bad)
    changes, counters = changed_calls(optimizer, p, grads)
    assert changes == [1, 9]
    assert counters[4] == (5, 2)


@pytest.mark.parametrize("cls", METHODS)
@pytest.mark.parametrize("proj_type", ["std", "full"])
def test_whole_first_gap_of_zeros(backend, accelerator, cls, proj_type):
    """The second refresh finds unit vectors, and starts from random columns instead.

    The gradient has nothing in the rows of those unit vectors, which power iteration cannot leave.
    """
    optimizer, (p,) = setup(cls, proj_type=proj_type)
    G = decaying((12, 20), "power")
    G[:3] = 0
    zeros = [[torch.zeros(12, 20)] for _ in range(4)]
    changes, _ = changed_calls(optimizer, p, [*zeros, [G]])
    assert changes == [5]
    bases = [optimizer.state[p][k] for k in ("basis", "basis_right") if k in optimizer.state[p]]
    assert captured(G, bases, "full" if proj_type == "full" else "left") >= 0.95


def test_full_rank_basis_needs_no_retry(backend, accelerator):
    """Rank equal to the side: the basis is the unit matrix, refused or not."""
    optimizer, (p,) = setup(rank=12)
    changed_calls(optimizer, p, [[torch.zeros(12, 20)], *gradients(3)])
    assert torch.equal(optimizer.state[p]["basis"], torch.eye(12))


@pytest.mark.parametrize("cls", METHODS)
def test_one_bad_parameter_does_not_touch_another(backend, accelerator, cls):
    """Same shape, one call: the parameter beside a refused one takes its own refresh."""
    optimizer, params = setup(cls, count=2)
    single, (q,) = setup(cls)
    for (g,) in gradients(6):
        params[0].grad, params[1].grad, q.grad = g.clone(), torch.zeros(12, 20), g.clone()
        optimizer.step()
        single.step()
    assert torch.equal(params[0], q)
    assert torch.equal(optimizer.state[params[1]]["basis"], torch.eye(12, 3))


def test_public_refresh_counts_a_refresh_and_no_call(backend):
    optimizer, (p,) = setup(update_proj_gap=100)
    grads = gradients(3)
    run(optimizer, [p], grads[:1])
    old = optimizer.state[p]["basis"].clone()
    p.grad = grads[1][0]
    weights = p.detach().clone()
    optimizer.refresh()
    assert torch.equal(p, weights)
    assert not torch.equal(optimizer.state[p]["basis"], old)
    assert (int(optimizer.state[p]["calls"]), int(optimizer.state[p]["refreshes"])) == (1, 2)
    expected, ok = _basis.refresh_basis("warm", p.grad, 3, "left", [old], (0, 0, 1))
    assert bool(ok)
    assert torch.equal(optimizer.state[p]["basis"], expected[0])


def test_public_refresh_with_a_bad_gradient(backend):
    optimizer, (p,) = setup(FiraAdamW)
    run(optimizer, [p], gradients(1))
    before = copy.deepcopy(optimizer.state_dict())
    p.grad = torch.full((12, 20), float("nan"))
    optimizer.refresh()
    p.grad = None
    optimizer.refresh()
    for name, value in before["state"][0].items():
        assert torch.equal(value, optimizer.state[p][name]), name


class Side:
    """Streams that log: what an accelerator is asked to do, in order."""

    log: list[str]

    def __init__(self):
        self.used = False

    def on(self, device):
        if not self.used:
            self.log.append("refresh stream waits")
        self.used = True
        return FakeStream("refresh stream", self.log)

    def join(self):
        self.log.append("join")


def test_order_of_refreshes_and_steps(backend, monkeypatch):
    """States first, then refreshes beside the others' step, the join, and the refreshed ones."""
    log: list[str] = []
    monkeypatch.setattr(Side, "log", log, raising=False)
    monkeypatch.setattr(_engine, "SideStreams", Side)
    for name in ("adam_", "lowrank_adam_"):
        inner = getattr(_engine, name)

        def logged(params, *args, name=name, inner=inner, **options):
            log.append(f"{name} {len(params)}")
            inner(params, *args, **options)

        monkeypatch.setattr(_engine, name, logged)
    torch.manual_seed(0)
    frozen = torch.nn.Parameter(torch.randn(12, 20), requires_grad=False)
    matrices = [torch.nn.Parameter(torch.randn(12, 20)) for _ in range(2)] + [frozen]
    vector = torch.nn.Parameter(torch.randn(7))
    group = dict(params=matrices, rank=3, update_proj_gap=6, phase="staggered")
    optimizer = GaLoreAdamW([{"params": [vector]}, group])
    inner_state = optimizer._new_state

    def new_state(*args):
        log.append("state")
        return inner_state(*args)

    monkeypatch.setattr(optimizer, "_new_state", new_state)

    def step():
        log.clear()
        for p in (*matrices, vector):
            p.grad = torch.randn(p.shape) if p.requires_grad else None
        optimizer.step()
        return list(log)

    refresh = ["on refresh stream", "off refresh stream"]
    assert step() == ["refresh stream waits", *refresh * 2, "adam_ 1", "join", "lowrank_adam_ 2"]
    assert step() == ["adam_ 1", "lowrank_adam_ 2", "join"]
    frozen.requires_grad_(True)
    assert step() == [
        *("state", "refresh stream waits", *refresh, "adam_ 1", "lowrank_adam_ 2", "join"),
        "lowrank_adam_ 1",
    ]
    assert step() == ["adam_ 1", "lowrank_adam_ 3", "join"]
    # Offsets 2 and 4 in a gap of 6, after 4 and 2 calls: both are due.
    expected = ["refresh stream waits", *refresh * 2, "adam_ 1", "lowrank_adam_ 1", "join"]
    assert step() == [*expected, "lowrank_adam_ 2"]


def test_join_follows_a_failed_refresh(backend, monkeypatch):
    log: list[str] = []
    monkeypatch.setattr(Side, "log", log, raising=False)
    monkeypatch.setattr(_engine, "SideStreams", Side)

    def broken(*_, **__):
        raise RuntimeError("did not converge")

    monkeypatch.setattr(_refresh, "refresh_basis", broken)
    optimizer, (p,) = setup()
    p.grad = gradients(1)[0][0]
    with pytest.raises(RuntimeError, match="did not converge"):
        optimizer.step()
    assert log[-1] == "join"
