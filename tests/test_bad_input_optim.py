"""Optimizers and divide_params against bad input: the named outcome, and nothing changed."""

import copy
import math
import warnings

import pytest
import torch
from sktest.snapshot import same, snapshot
from torch import nn

from subkern.optim import FiraAdamW, GaLoreAdamW, divide_params

METHODS = (GaLoreAdamW, FiraAdamW)


def weight(m=6, n=9):
    return nn.Parameter(torch.rand(m, n))


def group(**keys):
    return {"params": [weight()], "rank": 2, **keys}


CONSTRUCTIONS = [
    ("rank-0", lambda: [group(rank=0)], {}, ValueError, "rank"),
    ("rank-negative", lambda: [group(rank=-1)], {}, ValueError, "rank"),
    ("rank-bool", lambda: [group(rank=True)], {}, TypeError, "rank"),
    ("rank-text", lambda: [group(rank="4")], {}, TypeError, "rank"),
    ("rank-float", lambda: [group(rank=2.0)], {}, TypeError, "rank"),
    ("gap-0", lambda: [group(update_proj_gap=0)], {}, ValueError, "update_proj_gap"),
    ("gap-float", lambda: [group(update_proj_gap=1.5)], {}, TypeError, "update_proj_gap"),
    ("proj_type", lambda: [group(proj_type="both")], {}, ValueError, "proj_type"),
    ("proj_type-none", lambda: [group(proj_type=None)], {}, TypeError, "proj_type"),
    ("scale-negative", lambda: [group(scale=-1)], {}, ValueError, "scale"),
    ("scale-text", lambda: [group(scale="1")], {}, TypeError, "scale"),
    ("alpha-and-scale", lambda: [group(scale=1.0, alpha=2.0)], {}, ValueError, "alpha"),
    ("basis", lambda: [group(basis="qr")], {}, ValueError, "basis"),
    ("basis_dtype", lambda: [group(basis_dtype=torch.int8)], {}, ValueError, "basis_dtype"),
    ("states", lambda: [group(states="int4")], {}, ValueError, "states"),
    ("phase", lambda: [group(phase="random")], {}, ValueError, "phase"),
    ("decay", lambda: [group(decay="never")], {}, ValueError, "decay"),
    ("rounding", lambda: [group(weight_rounding="up")], {}, ValueError, "weight_rounding"),
    ("seed", lambda: [group(seed="x")], {}, TypeError, "seed"),
    ("skip_nonfinite", lambda: [group(skip_nonfinite=1)], {}, TypeError, "skip_nonfinite"),
    ("capturable", lambda: [group(capturable=1)], {}, TypeError, "capturable"),
    ("vector", lambda: [group(params=[nn.Parameter(torch.rand(5))])], {}, ValueError, "params[0]"),
    ("cube", lambda: [group(params=[nn.Parameter(torch.rand(2, 3, 4))])], {}, ValueError, "matrix"),
    ("empty-matrix", lambda: [group(params=[weight(0, 4)])], {}, ValueError, "matrix"),
    (
        "complex",
        lambda: [group(params=[nn.Parameter(torch.rand(4, 4, dtype=torch.complex64))])],
        {},
        TypeError,
        "params[0]",
    ),
    (
        "integer",
        lambda: [group(params=[torch.zeros(4, 4, dtype=torch.int32)])],
        {},
        TypeError,
        "params[0]",
    ),
    (
        "sparse",
        lambda: [group(params=[nn.Parameter(torch.eye(4).to_sparse())])],
        {},
        ValueError,
        "params[0]",
    ),
    ("not-a-tensor", lambda: [group(params=[3.0])], {}, TypeError, ""),
    ("tied-in-a-group", lambda: [group(params=[(p := weight()), p])], {}, ValueError, "twice"),
    (
        "tied-over-groups",
        lambda: [group(params=[p := weight()]), {"params": [p]}],
        {},
        ValueError,
        "",
    ),
    ("lr-negative", lambda: [weight()], {"lr": -1.0}, ValueError, "lr"),
    ("lr-text", lambda: [weight()], {"lr": "1"}, TypeError, "lr"),
    ("lr-nan", lambda: [weight()], {"lr": math.nan}, ValueError, "lr"),
    ("lr-two", lambda: [weight()], {"lr": torch.ones(2)}, ValueError, "lr"),
    ("betas", lambda: [weight()], {"betas": (0.9, 1.5)}, ValueError, "betas[1]"),
    ("eps", lambda: [weight()], {"eps": -1.0}, ValueError, "eps"),
    ("weight_decay", lambda: [weight()], {"weight_decay": -1.0}, ValueError, "weight_decay"),
    ("correct_bias", lambda: [weight()], {"correct_bias": "no"}, TypeError, "correct_bias"),
    ("keyword", lambda: [weight()], {"amsgrad": True}, ValueError, "amsgrad"),
    ("no-parameters", list, {}, ValueError, "empty"),
]


@pytest.mark.parametrize("method", METHODS)
@pytest.mark.parametrize(
    ("groups", "keywords", "error", "words"),
    [row[1:] for row in CONSTRUCTIONS],
    ids=[row[0] for row in CONSTRUCTIONS],
)
def test_constructor(method, groups, keywords, error, words):
    groups = groups()
    before = snapshot(groups)
    with pytest.raises(error) as caught:
        method(groups, **keywords)
    assert type(caught.value) is error
    assert words in str(caught.value)
    assert same(snapshot(groups), before)


@pytest.mark.parametrize("key", ["gamma", "norm_eps", "granularity", "alpha_in_residual"])
def test_constructor_fira_keys(key):
    bad = {"gamma": 0.5, "norm_eps": -1.0, "granularity": "row", "alpha_in_residual": "no"}[key]
    error = TypeError if key == "alpha_in_residual" else ValueError
    with pytest.raises(error, match=key):
        FiraAdamW([group(**{key: bad})])
    with pytest.raises(ValueError, match=key):
        GaLoreAdamW([weight()], **{key: bad})  # not one of its keywords


@pytest.mark.parametrize("method", METHODS)
def test_group_that_is_no_dict(method):
    optimizer = method([weight()])
    with pytest.raises(TypeError, match="param_group"):
        optimizer.add_param_group([weight()])
    assert len(optimizer.param_groups) == 1


@pytest.mark.parametrize("method", METHODS)
def test_a_refused_group_leaves_the_optimizer_as_it_was(method):
    optimizer = method([group()])
    state, groups = len(optimizer.state), len(optimizer.param_groups)
    with pytest.raises(ValueError, match="rank"):
        optimizer.add_param_group(group(rank=0))
    assert (len(optimizer.state), len(optimizer.param_groups)) == (state, groups)


@pytest.mark.parametrize("method", METHODS)
@pytest.mark.parametrize("proj_type", ["std", "reverse_std", "left", "right", "full"])
def test_rank_above_k_is_clamped_with_one_warning(method, proj_type):
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        optimizer = method(
            [group(params=[weight(), weight(), weight(40, 50)], rank=20, proj_type=proj_type)]
        )
        for p in optimizer.param_groups[0]["params"]:
            p.grad = torch.rand_like(p)
        optimizer.step()
        optimizer.step()
    ours = [w for w in caught if "clamped" in str(w.message)]
    assert len(ours) == 1
    assert "rank 20" in str(ours[0].message)
    assert ours[0].filename == __file__, "the warning points at the caller's line"
    ranks = [optimizer.state[p]["basis"].shape[1] for p in optimizer.param_groups[0]["params"]]
    assert ranks == [6, 6, 20]


def optimizer_with_gradients(method):
    """A plain and a low-rank group, with gradients."""
    plain, low = nn.Parameter(torch.rand(7)), [weight(), weight(), weight(8, 5)]
    optimizer = method([{"params": [plain]}, group(params=low)], lr=0.1)
    for p in (plain, *low):
        p.grad = torch.rand_like(p)
    return optimizer


def everything(optimizer):
    params = [p for g in optimizer.param_groups for p in g["params"]]
    return snapshot(
        [[p.detach() for p in params], [p.grad for p in params], optimizer.state_dict()]
    )


def sparse_gradient(p):
    p.grad = torch.rand_like(p).to_sparse()


def aliased_gradient(p):
    p.grad = p.detach()


@pytest.mark.parametrize("method", METHODS)
@pytest.mark.parametrize(
    ("spoil", "error"),
    [(sparse_gradient, RuntimeError), (aliased_gradient, ValueError)],  # the first as torch.optim
)
@pytest.mark.parametrize("which", [0, 1, 3])
def test_step_refuses_a_gradient(method, spoil, error, which):
    """Nothing is stepped or counted, not even the parameters before the bad one."""
    optimizer = optimizer_with_gradients(method)
    params = [p for g in optimizer.param_groups for p in g["params"]]
    spoil(params[which])
    before = everything(optimizer)
    with pytest.raises(error, match=r"dense|share memory"):
        optimizer.step()
    assert same(everything(optimizer), before)


@pytest.mark.parametrize("method", METHODS)
@pytest.mark.parametrize("poison", [math.nan, math.inf])
@pytest.mark.parametrize("at_refresh", [True, False])
def test_nonfinite_gradient_skips_its_own_parameter(method, poison, at_refresh):
    """The refresh keeps its old basis, the step is counted as skipped, the others go on."""
    optimizer = optimizer_with_gradients(method)
    if not at_refresh:
        optimizer.step()
    params = [p for g in optimizer.param_groups for p in g["params"]]
    for bad in (params[0], params[1]):
        bad.grad.view(-1)[0] = poison
    before = {p: (p.detach().clone(), copy.deepcopy(optimizer.state[p])) for p in params}
    optimizer.step()
    for i, p in enumerate(params):
        value, state = before[p]
        assert p.isfinite().all()
        if i < 2:
            assert torch.equal(p, value)
            assert optimizer.state[p]["skipped"] == state["skipped"] + 1
            for key in ("exp_avg", "exp_avg_sq", "step", "basis"):
                if key in state:
                    assert torch.equal(optimizer.state[p][key], state[key]), key
        else:
            assert not torch.equal(p, value)
            assert optimizer.state[p]["skipped"] == 0


@pytest.mark.parametrize("method", METHODS)
@pytest.mark.parametrize("basis", ["svd", "warm", "rsvd"])
@pytest.mark.parametrize("value", [0.0, math.nan, math.inf, 1e-42, 1e18, 1e38])
def test_refresh_of_a_strange_gradient(method, basis, value):
    """Zero, non-finite, subnormal and huge gradients leave a finite, orthonormal basis."""
    p = weight()
    optimizer = method([group(params=[p], basis=basis, update_proj_gap=1)], lr=0.01)
    p.grad = torch.full_like(p, value)
    for _ in range(2):
        optimizer.step()
    P = optimizer.state[p]["basis"]
    torch.testing.assert_close(P.T @ P, torch.eye(2), atol=1e-5, rtol=0)
    if value != 1e38:  # its square overflows V, as in the published code
        assert p.isfinite().all()


@pytest.mark.parametrize("method", METHODS)
def test_no_gradient_and_no_elements_are_legal(method):
    empty, idle = nn.Parameter(torch.rand(0, 3)), nn.Parameter(torch.rand(4))
    optimizer = method([{"params": [empty, idle]}])
    value = idle.detach().clone()
    optimizer.step()
    empty.grad = torch.zeros(0, 3)
    optimizer.step()
    assert torch.equal(idle, value)


MODEL = nn.Sequential(nn.Linear(4, 4), nn.ReLU(), nn.Linear(4, 2))

DIVISIONS = [
    ("model", (MODEL.state_dict(), ["0"]), {}, TypeError, "model"),
    ("targets-text", (MODEL, "0"), {}, TypeError, "target_modules_list"),
    ("targets-numbers", (MODEL, [0]), {}, TypeError, "target_modules_list"),
    ("rank-0", (MODEL, ["0"]), {"rank": 0}, ValueError, "rank"),
    ("rank-negative", (MODEL, ["0"]), {"rank": -2}, ValueError, "rank"),
    ("rank-bool", (MODEL, ["0"]), {"rank": True}, TypeError, "rank"),
    ("rank-text", (MODEL, ["0"]), {"rank": "8"}, TypeError, "rank"),
    ("gap", (MODEL, ["0"]), {"update_proj_gap": 0}, ValueError, "update_proj_gap"),
    ("alpha", (MODEL, ["0"]), {"alpha": -1.0}, ValueError, "alpha"),
    ("alpha-nan", (MODEL, ["0"]), {"alpha": math.nan}, ValueError, "alpha"),
    ("proj_type", (MODEL, ["0"]), {"proj_type": "both"}, ValueError, "proj_type"),
]


@pytest.mark.parametrize(
    ("arguments", "keywords", "error", "words"),
    [row[1:] for row in DIVISIONS],
    ids=[row[0] for row in DIVISIONS],
)
def test_divide_params(arguments, keywords, error, words):
    before = snapshot(MODEL.state_dict())
    with pytest.raises(error, match=f"divide_params: {words}"):
        divide_params(*arguments, **keywords)
    assert same(snapshot(MODEL.state_dict()), before)
