"""Capture into a CUDA graph, seen from the host: what may be captured, and what a capture leaves.

The capture itself needs a GPU (test_gpu.py); here a flag says that one is under way.
"""

from __future__ import annotations

import copy
import pickle

import pytest
import torch

from subkern.optim import GaLoreAdamW, _engine, _streams

from .small import (
    GAP,
    METHODS,
    assert_same_state,
    assert_same_weights,
    small_model,
    small_optimizer,
    train,
)
from .test_schedule import gradients, run, setup


@pytest.fixture
def capturing(monkeypatch):
    """A context in which the current stream seems to record a graph."""

    class Capture:
        def __enter__(self):
            monkeypatch.setattr(_engine, "is_capturing", lambda: True)

        def __exit__(self, *_):
            monkeypatch.setattr(_engine, "is_capturing", _streams.is_capturing)

    return Capture()


def test_nothing_is_captured_here():
    assert _streams.is_capturing() is False


@pytest.mark.parametrize("cls", METHODS)
def test_capture_needs_capturable_in_every_group(backend, capturing, cls):
    model = small_model()
    optimizer = small_optimizer(cls, model)
    train(model, optimizer, 1)
    before = copy.deepcopy(optimizer.state_dict())
    optimizer.param_groups[0]["capturable"] = True
    with capturing, pytest.raises(RuntimeError, match=r"but param_groups' capturable is False\."):
        optimizer.step()
    optimizer.param_groups[0]["capturable"] = False
    after = optimizer.state_dict()
    assert after["param_groups"] == before["param_groups"]
    for index, state in before["state"].items():
        for name, value in state.items():
            assert torch.equal(value, after["state"][index][name]), name


@pytest.mark.parametrize("cls", METHODS)
def test_captured_step_refreshes_and_counts_nothing(backend, capturing, cls):
    """It is the step without its refresh, even on a call where that is due."""
    optimizer, (p,) = setup(cls, update_proj_gap=2, capturable=True)
    other, (q,) = setup(cls, update_proj_gap=100)
    grads = gradients(6)
    for optimizer_, p_ in ((optimizer, p), (other, q)):
        run(optimizer_, [p_], grads[:1])
    host = {k: optimizer.state[p][k].clone() for k in ("basis", "calls", "refreshes")}
    with capturing:
        run(optimizer, [p], grads[1:])
    for name, value in host.items():
        assert torch.equal(optimizer.state[p][name], value), name
    run(other, [q], grads[1:])
    assert torch.equal(p, q)
    for name in ("step", "exp_avg", "exp_avg_sq"):
        assert torch.equal(optimizer.state[p][name], other.state[q][name]), name


def test_state_must_exist_before_a_capture(backend, capturing):
    """State made during a capture would be made again at every replay."""
    optimizer, (p,) = setup(capturable=True)
    frozen = torch.nn.Parameter(torch.randn(12, 20), requires_grad=False)
    optimizer.add_param_group(dict(params=[frozen], rank=3, capturable=True))
    run(optimizer, [p], gradients(1))
    frozen.requires_grad_(True)
    frozen.grad = torch.ones(12, 20)
    with capturing, pytest.raises(RuntimeError, match="must take a step before the capture"):
        optimizer.step()


def test_refresh_is_not_captured(backend, capturing):
    optimizer, (p,) = setup(capturable=True)
    p.grad = gradients(1)[0][0]
    with capturing, pytest.raises(RuntimeError, match="between replays"):
        optimizer.refresh()
    assert int(optimizer.state[p]["refreshes"]) == 0


@pytest.mark.parametrize("cls", METHODS)
def test_capturable_changes_no_result(backend, cls, recwarn):
    model, other = small_model(), small_model()
    optimizer = small_optimizer(cls, model, capturable=True)
    train(model, optimizer, 2 * GAP)
    train(other, small_optimizer(cls, other), 2 * GAP)
    assert_same_weights(model, other)
    assert not [w for w in recwarn if "captur" in str(w.message)]


@pytest.mark.parametrize("cls", METHODS)
@pytest.mark.parametrize("lr", ["float", "tensor"])
def test_resume_with_capturable(backend, cls, lr):
    """A saved capturable run goes on bit for bit, in an optimizer that was built without."""
    rate = 0.01 if lr == "float" else torch.tensor(0.01)
    model, resumed = small_model(), small_model(seed=5)
    optimizer = small_optimizer(cls, model, lr=rate, capturable=True)
    train(model, optimizer, GAP - 1)
    optimizer.refresh()
    saved = copy.deepcopy({"model": model.state_dict(), "optim": optimizer.state_dict()})
    train(model, optimizer, 2 * GAP, start=GAP)
    resumed.load_state_dict(saved["model"])
    other = small_optimizer(cls, resumed)
    other.load_state_dict(saved["optim"])
    assert all(group["capturable"] for group in other.param_groups)
    train(resumed, other, 2 * GAP, start=GAP)
    assert_same_weights(model, resumed)
    assert_same_state(optimizer, other)


def without_the_key(state_dict):
    for group in state_dict["param_groups"]:
        del group["capturable"]
    return state_dict


@pytest.mark.parametrize("capturable", [True, False])
def test_older_state_dicts_load(backend, capturable):
    """From before the key: the group keeps this optimizer's value."""
    model, other = small_model(), small_model()
    optimizer = small_optimizer(GaLoreAdamW, model)
    train(model, optimizer, 3)
    loaded = small_optimizer(GaLoreAdamW, other, capturable=capturable)
    loaded.load_state_dict(without_the_key(optimizer.state_dict()))
    assert [g["capturable"] for g in loaded.param_groups] == [capturable] * 2
    other.load_state_dict(model.state_dict())
    train(model, optimizer, GAP, start=3)
    train(other, loaded, GAP, start=3)
    assert_same_weights(model, other)


def test_older_pickles_load(backend, capturing):
    model = small_model()
    optimizer = small_optimizer(GaLoreAdamW, model)
    for group in optimizer.param_groups:
        del group["capturable"]
    model, optimizer = pickle.loads(pickle.dumps((model, optimizer)))
    train(model, optimizer, 1)
    with capturing, pytest.raises(RuntimeError, match="capturable is False"):
        optimizer.step()


@pytest.mark.parametrize("cls", METHODS)
def test_rate_on_another_device(backend, cls):
    """A rate that neither the host nor the kernels can read where it is."""
    model = small_model()
    optimizer = small_optimizer(cls, model)
    train(model, optimizer, 1)
    before = [p.detach().clone() for p in model.parameters()]
    optimizer.param_groups[1]["lr"] = torch.tensor(0.01, device="meta")
    with pytest.raises(ValueError, match=r": lr must be on the CPU, got meta"):
        optimizer.step()
    assert all(map(torch.equal, before, model.parameters()))
