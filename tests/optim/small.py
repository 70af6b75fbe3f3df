"""A small model with projected matrices and plain biases, and a fixed stream of batches."""

from __future__ import annotations

import torch
from torch import nn

from subkern.optim import FiraAdamW, GaLoreAdamW

METHODS = [GaLoreAdamW, FiraAdamW]
GAP = 4


def small_model(dtype=torch.float32, seed=0):
    torch.manual_seed(seed)
    return nn.Sequential(nn.Linear(20, 12), nn.Tanh(), nn.Linear(12, 8)).to(dtype)


def groups(model, **keys):
    matrices = [p for p in model.parameters() if p.dim() == 2]
    vectors = [p for p in model.parameters() if p.dim() != 2]
    keys = dict(rank=3, update_proj_gap=GAP) | keys
    return [{"params": vectors}, {"params": matrices, **keys}]


def small_optimizer(cls, model, *, lr=0.01, weight_decay=0.1, **engine):
    return cls(groups(model), lr=lr, weight_decay=weight_decay, **engine)


def batches(count, start=0):
    for i in range(start, start + count):
        generator = torch.Generator().manual_seed(i)
        yield torch.randn(16, 20, generator=generator), torch.randn(16, 8, generator=generator)


def loss_of(model, batch):
    x, y = (t.to(model[0].weight.dtype) for t in batch)
    return (model(x) - y).square().mean()


def train(model, optimizer, count, start=0):
    """``count`` plain steps on the batches from ``start`` on; returns the losses."""
    losses = []
    for batch in batches(count, start):
        optimizer.zero_grad()
        loss = loss_of(model, batch)
        loss.backward()
        optimizer.step()
        losses.append(float(loss.detach()))
    return losses


def assert_same_weights(model, other):
    for (name, p), q in zip(model.named_parameters(), other.parameters(), strict=True):
        assert p.dtype == q.dtype, name
        assert torch.equal(p, q), name


def assert_same_state(optimizer, other):
    """Values, dtypes and strides of every state tensor, and every group value, are equal."""
    ours, theirs = optimizer.state_dict(), other.state_dict()
    assert ours["param_groups"] == theirs["param_groups"]
    assert ours["state"].keys() == theirs["state"].keys()
    for index, state in ours["state"].items():
        assert state.keys() == theirs["state"][index].keys()
        for name, value in state.items():
            loaded = theirs["state"][index][name]
            assert value.dtype == loaded.dtype, (index, name)
            assert value.stride() == loaded.stride(), (index, name)
            assert torch.equal(value, loaded), (index, name)
