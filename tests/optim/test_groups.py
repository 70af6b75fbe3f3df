"""Groups and constructors: aliases, late groups, what is refused and with which words."""

from __future__ import annotations

import contextlib
import io

import pytest
import torch
from torch import nn

from subkern.optim import FiraAdamW, GaLoreAdamW, divide_params

from .peers import official
from .small import (
    METHODS,
    assert_same_state,
    assert_same_weights,
    batches,
    groups,
    loss_of,
    small_model,
    train,
)


def matrix(*shape, dtype=torch.float32):
    return nn.Parameter(torch.ones(shape or (6, 4), dtype=dtype))


@pytest.mark.parametrize("cls", METHODS)
def test_aliases_are_the_same_keys(backend, cls):
    model, other = small_model(), small_model()
    first = cls(groups(model, alpha=0.5, projection_type="left"), lr=0.01)
    second = cls(groups(other, scale=0.5, proj_type="left"), lr=0.01)
    assert first.param_groups[1]["scale"] == 0.5
    assert not {"alpha", "projection_type"} & set(first.param_groups[1])
    train(model, first, 3)
    train(other, second, 3)
    assert_same_weights(model, other)
    assert_same_state(first, second)
    assert cls([matrix()], alpha=0.5).param_groups[0]["scale"] == 0.5


def test_published_defaults():
    for cls, scale in ((GaLoreAdamW, 0.25), (FiraAdamW, 1.0)):
        group = cls([{"params": [matrix()], "rank": 2}]).param_groups[0]
        expected = dict(lr=1e-3, betas=(0.9, 0.999), eps=1e-6, weight_decay=0.0, correct_bias=True)
        expected |= dict(scale=scale, update_proj_gap=200, proj_type="std", decay="post")
        assert {k: group[k] for k in expected} == expected
        assert cls([matrix()], no_deprecation_warning=True, lr=0.5).param_groups[0]["lr"] == 0.5


@pytest.mark.parametrize("cls", METHODS)
def test_late_group(backend, cls):
    """A group added later takes the steps of an optimizer of its own; the others go on."""
    model, other = small_model(), small_model()
    (early, late), (other_early, other_late) = (
        groups(model, basis="svd"),
        groups(other, basis="svd"),
    )
    optimizer, first = cls([early], lr=0.01), cls([other_early], lr=0.01)
    train(model, optimizer, 3)
    train(other, first, 3)
    optimizer.add_param_group(late)
    assert set(optimizer.state) == set(model.parameters())
    assert optimizer.param_groups[1]["lr"] == 0.01
    second = cls([other_late], lr=0.01)
    model.zero_grad()
    other.zero_grad()
    for batch in batches(5, start=3):
        loss_of(model, batch).backward()
        loss_of(other, batch).backward()
        optimizer.step()
        first.step()
        second.step()
    assert_same_weights(model, other)
    for p in late["params"]:
        assert [int(optimizer.state[p][k]) for k in ("step", "refreshes")] == [5, 2]


def test_tied_parameters_are_refused():
    p = matrix()
    with pytest.raises(ValueError, match="tied parameter"):
        GaLoreAdamW([{"params": [p, p], "rank": 2}])
    with pytest.raises(ValueError, match="more than one parameter group"):
        FiraAdamW([{"params": [p], "rank": 2}, {"params": [p]}])
    optimizer = GaLoreAdamW([p])
    with pytest.raises(ValueError, match="more than one parameter group"):
        optimizer.add_param_group({"params": [p], "rank": 2})
    assert len(optimizer.param_groups) == 1


@pytest.mark.parametrize("cls", METHODS)
@pytest.mark.parametrize(
    ("group", "keywords", "error", "message"),
    [
        ({"rank": 0}, {}, ValueError, "rank must be at least 1, got 0"),
        ({"rank": -3}, {}, ValueError, "rank must be at least 1, got -3"),
        ({"rank": 2.0}, {}, TypeError, "rank must be an integer"),
        ({"rank": True}, {}, TypeError, "rank must be an integer"),
        ({"rank": 2, "update_proj_gap": 0}, {}, ValueError, "update_proj_gap must be at least 1"),
        ({"rank": 2, "proj_type": "up"}, {}, ValueError, "proj_type must be one of std"),
        ({"rank": 2, "basis": "gram?"}, {}, ValueError, "basis must be one of svd"),
        ({"rank": 2, "phase": "late"}, {}, ValueError, "phase must be one of"),
        ({"rank": 2, "states": "int8"}, {}, ValueError, "states must be one of"),
        ({"rank": 2, "decay": "both"}, {}, ValueError, "decay must be one of"),
        ({"rank": 2, "scale": float("nan")}, {}, ValueError, "scale must be in"),
        ({"rank": 2, "scale": 1.0, "alpha": 2.0}, {}, ValueError, "alpha must equal scale"),
        ({"rank": 2, "basis_dtype": torch.int8}, {}, ValueError, "basis_dtype must be"),
        ({"rank": 2, "skip_nonfinite": 1}, {}, TypeError, "skip_nonfinite must be True or"),
        ({"rank": 2, "capturable": 1}, {}, TypeError, "capturable must be True or"),
        ({}, {"lr": -1.0}, ValueError, "lr must be in"),
        ({}, {"lr": float("inf")}, ValueError, "lr must be in"),
        ({}, {"betas": (0.9, 1.0)}, ValueError, r"betas\[1\] must be in"),
        ({}, {"betas": 0.9}, TypeError, "betas must be two numbers"),
        ({}, {"eps": -1e-8}, ValueError, "eps must be in"),
        ({}, {"weight_decay": -0.1}, ValueError, "weight_decay must be in"),
        ({}, {"amsgrad": True}, ValueError, "keyword must be one of .*, got amsgrad"),
        ({}, {"correct_bias": 1}, TypeError, "correct_bias must be True or False"),
    ],
    ids=str,
)
def test_bad_values_are_refused_at_construction(cls, group, keywords, error, message):
    with pytest.raises(error, match=f"^{cls.__name__}: .*{message}"):
        cls([{"params": [matrix()], **group}], **keywords)


@pytest.mark.parametrize("cls", METHODS)
@pytest.mark.parametrize(
    ("p", "error", "message"),
    [
        (matrix(4), ValueError, r"must be a non-empty matrix .* got shape \(4,\)"),
        (matrix(2, 3, 4), ValueError, "must be a non-empty matrix"),
        (matrix(0, 4), ValueError, "must be a non-empty matrix"),
        (matrix(dtype=torch.complex64), TypeError, "must be real floating point"),
    ],
    ids=str,
)
def test_parameters_a_rank_cannot_take(cls, p, error, message):
    with pytest.raises(error, match=rf"^{cls.__name__}: params\[0\] {message}"):
        cls([{"params": [p], "rank": 2}])


def test_rank_above_the_smaller_side_is_clamped_with_one_warning(backend):
    params = [matrix(6, 4), matrix(3, 9), matrix(9, 9)]
    with pytest.warns(UserWarning, match="rank 8 is above the smaller side of 2") as caught:
        optimizer = GaLoreAdamW([{"params": params, "rank": 8}])
    assert len(caught) == 1
    assert [optimizer.state[p]["basis"].shape for p in params] == [(4, 4), (3, 3), (9, 8)]
    for p in params:
        p.grad = torch.ones_like(p)
    optimizer.step()
    assert all((p < 1).all() for p in params)


def test_sparse_and_complex_gradients_are_refused(backend):
    embedding = nn.Embedding(5, 3, sparse=True)
    optimizer = GaLoreAdamW([{"params": embedding.parameters(), "rank": 2}])
    embedding(torch.tensor([1, 2])).sum().backward()
    before = embedding.weight.detach().clone()
    with pytest.raises(RuntimeError, match="GaLoreAdamW: gradients must be dense"):
        optimizer.step()
    assert torch.equal(embedding.weight, before)


def test_groups_of_every_kind():
    p, q = matrix(), matrix()
    assert len(GaLoreAdamW(iter([p, q])).param_groups[0]["params"]) == 2
    assert len(GaLoreAdamW([("w", p), ("v", q)]).param_groups[0]["params"]) == 2
    assert len(GaLoreAdamW([{"params": p, "rank": 2}]).param_groups[0]["params"]) == 1
    optimizer = GaLoreAdamW([{"params": (x for x in (p, q)), "rank": 2}])
    assert len(optimizer.state) == 2
    with pytest.raises(TypeError, match="param_group must be a dict, got list"):
        optimizer.add_param_group([p])
    with pytest.raises(ValueError, match="empty parameter list"):
        FiraAdamW([])


@pytest.mark.parametrize("targets", [["attn"], ["attn", "mlp"], ["nothing"], ["norm"]])
def test_divide_params_is_firas(targets):
    official("fira")  # skips when it is not installed
    from fira import divide_params as theirs

    model = nn.ModuleDict(
        {
            "attn": nn.ModuleDict({"q": nn.Linear(4, 4), "k": nn.Linear(4, 4, bias=False)}),
            "mlp": nn.Linear(4, 8),
            "norm": nn.LayerNorm(4),
            "head": nn.Linear(4, 9),
        }
    )
    options = dict(rank=2, update_proj_gap=7, alpha=0.5, proj_type="left")
    with contextlib.redirect_stdout(io.StringIO()):
        expected = theirs(model, targets, **options)
    printed = io.StringIO()
    with contextlib.redirect_stdout(printed):
        got = divide_params(model, targets, **options)
    assert printed.getvalue() == ""
    assert len(got) == len(expected) == 2
    for ours, other in zip(got, expected, strict=True):
        assert [id(p) for p in ours["params"]] == [id(p) for p in other["params"]]
        assert {k: v for k, v in ours.items() if k != "params"} == {
            k: v for k, v in other.items() if k != "params"
        }
    with pytest.raises(TypeError, match="divide_params: model must be a torch module"):
        divide_params(None)
