"""What training loops do with an optimizer: closures, hooks, rates, scalers, clipping, gaps."""

from __future__ import annotations

import copy

import pytest
import torch
from torch import nn
from torch.optim import lr_scheduler

from .small import (
    METHODS,
    assert_same_state,
    assert_same_weights,
    batches,
    loss_of,
    small_model,
    small_optimizer,
    train,
)

pytestmark = pytest.mark.parametrize("cls", METHODS)


def test_trains(backend, cls):
    model = small_model()
    optimizer = small_optimizer(cls, model, weight_decay=0.0)
    x, y = next(batches(1))
    first = float(loss_of(model, (x, y)).detach())
    for _ in range(60):
        optimizer.zero_grad()
        loss_of(model, (x, y)).backward()
        optimizer.step()
    assert float(loss_of(model, (x, y)).detach()) < 0.7 * first


def test_closure(backend, cls):
    model = small_model()
    optimizer = small_optimizer(cls, model)
    batch = next(batches(1))

    def closure():
        assert torch.is_grad_enabled()
        return backward(model, optimizer, batch)

    with torch.no_grad():  # as Lightning calls it
        returned = optimizer.step(closure)
    assert returned.requires_grad
    assert int(optimizer.state[model[0].weight]["step"]) == 1
    assert optimizer.step() is None


def test_closure_takes_the_same_step(backend, cls):
    model, other = small_model(), small_model()
    optimizer = small_optimizer(cls, model)
    for batch in batches(6):
        optimizer.step(lambda batch=batch: backward(model, optimizer, batch))
    train(other, small_optimizer(cls, other), 6)
    assert_same_weights(model, other)


def backward(model, optimizer, batch):
    optimizer.zero_grad()
    loss = loss_of(model, batch)
    loss.backward()
    return loss


def test_step_hooks(backend, cls):
    model = small_model()
    optimizer = small_optimizer(cls, model)
    seen = []
    before = optimizer.register_step_pre_hook(lambda opt, args, kwargs: seen.append("pre"))
    optimizer.register_step_post_hook(lambda opt, args, kwargs: seen.append("post"))
    train(model, optimizer, 2)
    before.remove()
    train(model, optimizer, 1)
    assert seen == ["pre", "post", "pre", "post", "post"]


@pytest.mark.parametrize("rate", ["float", "0-dim", "1-dim", "float64"])
def test_lr_may_be_a_tensor(backend, cls, rate):
    lr = {
        "float": 0.02,
        "0-dim": torch.tensor(0.02),
        "1-dim": torch.tensor([0.02]),
        "float64": torch.tensor(0.02, dtype=torch.float64),
    }[rate]
    model, other = small_model(), small_model()
    optimizer = small_optimizer(cls, model, lr=lr)
    train(model, optimizer, 5)
    train(other, small_optimizer(cls, other, lr=0.02), 5)
    for p, q in zip(model.parameters(), other.parameters(), strict=True):
        torch.testing.assert_close(p, q, rtol=1e-6, atol=1e-7)  # 0.02 rounded to float32


def test_lr_reassigned_as_either(backend, cls):
    model, other = small_model(), small_model()
    optimizer, expected = small_optimizer(cls, model), small_optimizer(cls, other)
    for i, lr in enumerate([0.5, torch.tensor(0.25), 0.125, torch.tensor([0.0625])]):
        for group in optimizer.param_groups:
            group["lr"] = lr
        for group in expected.param_groups:
            group["lr"] = float(lr)
        train(model, optimizer, 1, start=i)
        train(other, expected, 1, start=i)
        assert_same_weights(model, other)
    optimizer.param_groups[1]["lr"].fill_(0.03125)  # in place, as capturable schedules do
    for group in expected.param_groups:
        group["lr"] = 0.0625
    expected.param_groups[1]["lr"] = 0.03125
    optimizer.param_groups[0]["lr"] = 0.0625
    train(model, optimizer, 1)
    train(other, expected, 1)
    assert_same_weights(model, other)


SCHEDULERS = {
    "step": lambda o: lr_scheduler.StepLR(o, 2, gamma=0.5),
    "cosine": lambda o: lr_scheduler.CosineAnnealingLR(o, 6),
    "lambda": lambda o: lr_scheduler.LambdaLR(o, lambda t: 1 / (1 + t)),
    "warmup": lambda o: lr_scheduler.LinearLR(o, 0.1, total_iters=4),
    "one cycle": lambda o: lr_scheduler.OneCycleLR(o, 0.1, total_steps=8, cycle_momentum=True),
    "sequential": lambda o: lr_scheduler.SequentialLR(
        o,
        [lr_scheduler.ConstantLR(o, 0.5, 2), lr_scheduler.ExponentialLR(o, 0.9)],
        milestones=[3],
    ),
}


@pytest.mark.parametrize("name", SCHEDULERS)
def test_schedulers_set_what_the_step_uses(backend, cls, name):
    model, other = small_model(), small_model()
    optimizer, expected = small_optimizer(cls, model), small_optimizer(cls, other)
    scheduler = SCHEDULERS[name](optimizer)
    rates = set()
    for i in range(6):
        for group, source in zip(expected.param_groups, optimizer.param_groups, strict=True):
            group["lr"], group["betas"] = float(source["lr"]), source["betas"]
        rates.add(expected.param_groups[0]["lr"])
        train(model, optimizer, 1, start=i)
        train(other, expected, 1, start=i)
        scheduler.step()
    assert len(rates) > 1
    assert_same_weights(model, other)


def test_reduce_on_plateau_and_tensor_lr(backend, cls):
    model = small_model()
    optimizer = small_optimizer(cls, model)
    for group in optimizer.param_groups:  # one tensor each: the scheduler scales them in place
        group["lr"] = torch.tensor(0.01)
    scheduler = lr_scheduler.ReduceLROnPlateau(optimizer, factor=0.1, patience=0)
    for loss in (1.0, 2.0, 3.0):
        train(model, optimizer, 1)
        scheduler.step(loss)
    assert float(optimizer.param_groups[0]["lr"]) == pytest.approx(1e-4)
    assert all(torch.isfinite(p).all() for p in model.parameters())


def test_grad_scaler_on_cpu(backend, cls):
    """Unscaled steps equal plain ones (powers of two scale exactly); an inf step is left out."""
    model, other = small_model(), small_model()
    optimizer, expected = small_optimizer(cls, model), small_optimizer(cls, other)
    scaler = torch.amp.GradScaler("cpu", init_scale=2.0**10, growth_interval=3)
    for i, batch in enumerate(batches(8)):
        optimizer.zero_grad()
        scaler.scale(loss_of(model, batch)).backward()
        if i == 4:
            model[0].weight.grad[0, 0] = float("inf")
        scaler.unscale_(optimizer)
        nn.utils.clip_grad_norm_(model.parameters(), 1e9)
        before = copy.deepcopy(optimizer.state_dict())
        scaler.step(optimizer)
        if i == 4:
            after = optimizer.state_dict()
            for index, state in before["state"].items():
                for name, value in state.items():
                    assert torch.equal(value, after["state"][index][name]), name
        else:
            train(other, expected, 1, start=i)
        scaler.update()
    assert scaler.get_scale() < 2.0**12
    for p, q in zip(model.parameters(), other.parameters(), strict=True):
        torch.testing.assert_close(p, q, rtol=1e-5, atol=1e-6)


@pytest.mark.parametrize("foreach", [True, False])
def test_clipping(backend, cls, foreach):
    model, other = small_model(), small_model()
    optimizer, expected = small_optimizer(cls, model), small_optimizer(cls, other)
    for i, batch in enumerate(batches(5)):
        backward(model, optimizer, batch)
        norm = nn.utils.clip_grad_norm_(model.parameters(), 0.05, foreach=foreach)
        assert norm > 0.05
        optimizer.step()
        backward(other, expected, batch)
        for p in other.parameters():
            p.grad.mul_(0.05 / (norm + 1e-6))
        expected.step()
        assert i < 5
    for p, q in zip(model.parameters(), other.parameters(), strict=True):
        torch.testing.assert_close(p, q, rtol=1e-4, atol=1e-6)


def test_gradient_accumulation(backend, cls):
    model, other = small_model(), small_model()
    optimizer, expected = small_optimizer(cls, model), small_optimizer(cls, other)
    for i in range(5):
        (x, y) = next(batches(1, i))
        optimizer.zero_grad()
        for half in (slice(0, 8), slice(8, 16)):
            (loss_of(model, (x[half], y[half])) / 2).backward()
        optimizer.step()
        train(other, expected, 1, start=i)
    for p, q in zip(model.parameters(), other.parameters(), strict=True):
        torch.testing.assert_close(p, q, rtol=1e-4, atol=1e-5)


def test_zero_grad_both_ways(backend, cls):
    results = []
    for set_to_none in (True, False):
        model = small_model()
        optimizer = small_optimizer(cls, model)
        for batch in batches(6):
            optimizer.zero_grad(set_to_none=set_to_none)
            loss_of(model, batch).backward()
            optimizer.step()
        optimizer.zero_grad(set_to_none=set_to_none)
        for p in model.parameters():
            assert p.grad is None if set_to_none else not p.grad.any()
        results.append((model, optimizer))
    assert_same_weights(results[0][0], results[1][0])
    assert_same_state(results[0][1], results[1][1])


def test_parameters_without_gradient_stay(backend, cls):
    model = small_model()
    optimizer = small_optimizer(cls, model)
    train(model, optimizer, 3)
    kept = [p.detach().clone() for p in model.parameters()]
    state = copy.deepcopy(optimizer.state_dict()["state"])
    optimizer.zero_grad()
    optimizer.step()
    assert all(map(torch.equal, model.parameters(), kept))
    loss_of(model, next(batches(1))).backward()
    model[0].weight.grad = model[2].bias.grad = None
    optimizer.step()
    same = [torch.equal(*pair) for pair in zip(model.parameters(), kept, strict=True)]
    assert same == [True, False, False, True]
    after = optimizer.state_dict()["state"]
    for position in (1, 2):  # the last bias and the first weight, in the order of the groups
        for name, value in after[position].items():
            assert torch.equal(value, state[position][name]), name


@pytest.mark.parametrize("bad", [float("nan"), float("inf")])
def test_nonfinite_gradient_skips_its_parameter_alone(backend, cls, bad):
    model, other = small_model(), small_model()
    optimizer, expected = small_optimizer(cls, model), small_optimizer(cls, other)
    for m, o in ((model, optimizer), (other, expected)):
        train(m, o, 3)
        loss_of(m, next(batches(1, 50))).backward()
    model[0].weight.grad[2, 3] = bad
    model[2].bias.grad[1] = bad
    other[0].weight.grad = other[2].bias.grad = None
    optimizer.step()
    expected.step()
    assert_same_weights(model, other)
    skipped = [int(optimizer.state[p]["skipped"]) for p in model.parameters()]
    assert skipped == [1, 0, 0, 1]
    assert [int(optimizer.state[p]["step"]) for p in model.parameters()] == [3, 4, 4, 3]
    train(model, optimizer, 2)
    assert all(torch.isfinite(p).all() for p in model.parameters())


def test_nonfinite_gradient_spreads_when_asked(backend, cls):
    model = small_model()
    optimizer = small_optimizer(cls, model, skip_nonfinite=False)
    train(model, optimizer, 2)
    loss_of(model, next(batches(1))).backward()
    model[0].weight.grad[2, 3] = float("nan")
    optimizer.step()
    assert torch.isnan(model[0].weight).any()
    assert not any(int(optimizer.state[p]["skipped"]) for p in model.parameters())


def test_post_accumulate_hooks(backend, cls):
    """One optimizer per parameter, stepped inside backward, equals one optimizer of all."""
    model, other = small_model(), small_model()
    for p in model.parameters():
        group = {"params": [p]} | ({"rank": 3, "update_proj_gap": 4} if p.dim() == 2 else {})
        single = cls([group], lr=0.01, weight_decay=0.1, basis="svd")

        def hook(p, single=single):
            single.step()
            p.grad = None

        p.register_post_accumulate_grad_hook(hook)
    for batch in batches(6):
        loss_of(model, batch).backward()
    assert all(p.grad is None for p in model.parameters())
    train(other, small_optimizer(cls, other, basis="svd"), 6)
    assert_same_weights(model, other)
