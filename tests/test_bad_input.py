"""Every public function against bad input: the outcome the contract names, nothing changed.

Each row is a name, a change of good arguments, and the outcome: an exception and a piece of its
message, or "legal" with what happens instead.
"""

import copy
import math
import warnings

import pytest
import torch
from sktest.lowrank import make
from torch import nn

import subkern
from subkern import ops
from subkern.optim import FiraAdamW, GaLoreAdamW, divide_params

OPS = ("adam", "lowrank_adam")
COUNT = 3


def good(op):
    """Arguments of a call that works, by name."""
    if op == "lowrank_adam":
        problem = make(6, 9, 2, "left", "fira", count=COUNT)
        return dict(problem.lists) | dict(lr=0.1, side="left", rule="fira", scale=0.25)
    names = ("params", "grads", "exp_avgs", "exp_avg_sqs")
    lists = {name: [torch.rand(6, 9) for _ in range(COUNT)] for name in names}
    scalars = {name: [torch.zeros(()) for _ in range(COUNT)] for name in ("steps", "skipped")}
    return lists | scalars | dict(lr=0.1)


def put(name, function, index=1):
    """Replace one tensor of a list."""

    def change(call):
        call[name][index] = function(call[name][index])

    return change


def setting(**values):
    return lambda call: call.update(values)


def share(name, other, index=1, other_index=1):
    """Put a tensor of one list into another."""

    def change(call):
        call[name][index] = call[other][other_index]

    return change


def interleave(call):
    """Two parameters as rows of one buffer that overlap by one row."""
    buffer = torch.rand(11, 9)
    call["params"][0], call["params"][1] = buffer[:6], buffer[5:]


def integer(t):
    return t.to(torch.int32)


def double(t):
    return t.double()


def complex_(t):
    return torch.complex(t, t)


def meta(t):
    return t.to("meta")


def taller(t):
    return torch.cat([t, t])


def flat(t):
    return t.flatten()


def sparse(t):
    return t.to_sparse()


def expanded(t):
    return t[:1].clone().expand(t.shape)


LISTS = ("params", "grads", "exp_avgs", "exp_avg_sqs", "steps", "skipped")

# Rows of both ops.
SHARED = [
    *((f"{name}-int", put(name, integer), TypeError, name) for name in LISTS),
    *((f"{name}-complex", put(name, complex_), TypeError, name) for name in LISTS),
    *((f"{name}-fp64", put(name, double), TypeError, f"{name}[1]") for name in LISTS),
    *((f"{name}-meta", put(name, meta), ValueError, f"{name}[1]") for name in LISTS),
    *((f"{name}-number", put(name, lambda t: 1.0), TypeError, f"{name}[1]") for name in LISTS),
    *((f"{name}-none", put(name, lambda t: None), TypeError, f"{name}[1]") for name in LISTS),
    *(
        (f"{name}-shape", put(name, taller), ValueError, "[1] must have shape")
        for name in LISTS[:4]
    ),
    *((f"{name}-flat", put(name, flat), ValueError, "[1] must have") for name in LISTS[:4]),
    *((f"{name}-sparse", put(name, sparse), ValueError, f"{name}[1]") for name in LISTS[:4]),
    *((f"{name}-vector", put(name, torch.atleast_1d), ValueError, name) for name in LISTS[4:]),
    *(
        (f"{name}-short", lambda call, n=name: call[n].pop(), ValueError, "tensors")
        for name in LISTS
    ),
    *(
        (f"{name}-tensor", lambda call, n=name: call.update({n: call[n][0]}), TypeError, name)
        for name in LISTS
    ),
    ("grads-bf16", put("grads", torch.Tensor.bfloat16), TypeError, "grads[1]"),
    ("params-twice", share("params", "params", 1, 0), ValueError, "share memory"),
    ("params-overlap", interleave, ValueError, "share memory"),
    ("params-expanded", put("params", expanded), ValueError, "overlap itself"),
    ("grads-is-params", share("grads", "params"), ValueError, "share memory"),
    ("grads-is-another-param", share("grads", "params", 1, 2), ValueError, "share memory"),
    ("exp_avgs-is-exp_avg_sqs", share("exp_avgs", "exp_avg_sqs"), ValueError, "share memory"),
    ("exp_avgs-expanded", put("exp_avgs", expanded), ValueError, "overlap itself"),
    ("steps-twice", share("steps", "steps", 1, 0), ValueError, "share memory"),
    ("steps-is-skipped", share("steps", "skipped"), ValueError, "share memory"),
    ("lr-negative", setting(lr=-1e-3), ValueError, "lr"),
    ("lr-nan", setting(lr=math.nan), ValueError, "lr"),
    ("lr-inf", setting(lr=math.inf), ValueError, "lr"),
    ("lr-text", setting(lr="0.1"), TypeError, "lr"),
    ("lr-bool", setting(lr=True), TypeError, "lr"),
    ("lr-none", setting(lr=None), TypeError, "lr"),
    ("lr-two", setting(lr=torch.ones(2)), ValueError, "lr"),
    ("lr-int-tensor", setting(lr=torch.ones((), dtype=torch.int64)), TypeError, "lr"),
    ("betas-one", setting(betas=(0.9, 1.0)), ValueError, "betas[1]"),
    ("betas-negative", setting(betas=(-0.1, 0.9)), ValueError, "betas[0]"),
    ("betas-number", setting(betas=0.9), TypeError, "betas"),
    ("betas-three", setting(betas=(0.9, 0.9, 0.9)), TypeError, "betas"),
    ("betas-text", setting(betas=("a", "b")), TypeError, "betas[0]"),
    ("eps-negative", setting(eps=-1e-8), ValueError, "eps"),
    ("eps-nan", setting(eps=math.nan), ValueError, "eps"),
    ("weight_decay-negative", setting(weight_decay=-0.1), ValueError, "weight_decay"),
    ("weight_decay-text", setting(weight_decay="no"), TypeError, "weight_decay"),
    ("decay-unknown", setting(decay="later"), ValueError, "decay"),
    ("decay-none", setting(decay=None), TypeError, "decay"),
    ("correct_bias-text", setting(correct_bias="yes"), TypeError, "correct_bias"),
    ("skip_nonfinite-number", setting(skip_nonfinite=2), TypeError, "skip_nonfinite"),
    ("backend-unknown", setting(backend="gpu"), ValueError, "backend"),
    ("backend-number", setting(backend=3), TypeError, "backend"),
    ("backend-absent", setting(backend="cuda"), subkern.BackendUnavailableError, "cuda"),
]


def rank(columns):
    """A basis with that many columns and moments to match."""

    def change(call):
        call["bases"] = [torch.zeros(6, columns) for _ in range(COUNT)]
        for name in ("exp_avgs", "exp_avg_sqs"):
            call[name] = [torch.zeros(columns, 9) for _ in range(COUNT)]

    return change


LOWRANK = [
    *((f"{n}-int", put(n, integer), TypeError, n) for n in ("bases", "limiters")),
    *((f"{n}-meta", put(n, meta), ValueError, n) for n in ("bases", "limiters")),
    *((f"{n}-short", lambda c, n=n: c[n].pop(), ValueError, n) for n in ("bases", "limiters")),
    ("bases-sparse", put("bases", sparse), ValueError, "bases[1]"),
    ("bases-complex", put("bases", complex_), TypeError, "bases[1]"),
    ("bases-fp64", put("bases", double), TypeError, "bases[1]"),
    ("bases-flat", put("bases", flat, 0), ValueError, "bases must be matrices"),
    ("bases-one-rank-differs", put("bases", lambda t: t[:, :1]), ValueError, "bases[1]"),
    ("bases-is-params", lambda c: c["params"].__setitem__(1, c["bases"][0]), ValueError, "params"),
    ("params-cube", put("params", lambda t: t[None], 0), ValueError, "params must be matrices"),
    ("limiters-twice", share("limiters", "limiters", 1, 0), ValueError, "share memory"),
    ("limiters-is-steps", share("limiters", "steps"), ValueError, "share memory"),
    ("limiters-unwanted", setting(rule="galore"), ValueError, "limiters"),
    ("bases_right-missing", setting(side="full"), ValueError, "bases_right"),
    ("bases_right-unwanted", setting(bases_right=[torch.eye(9, 2)] * 3), ValueError, "bases_right"),
    ("rank-0", rank(0), ValueError, "rank"),
    ("rank-above-k", rank(7), ValueError, "rank"),
    ("side-unknown", setting(side="std"), ValueError, "side"),
    ("side-wrong", setting(side="right"), ValueError, "bases"),
    ("rule-unknown", setting(rule="apollo"), ValueError, "rule"),
    ("rule-number", setting(rule=1), TypeError, "rule"),
    ("granularity-unknown", setting(granularity="row"), ValueError, "granularity"),
    ("scale-negative", setting(scale=-1.0), ValueError, "scale"),
    ("scale-nan", setting(scale=math.nan), ValueError, "scale"),
    ("gamma-below-1", setting(gamma=0.99), ValueError, "gamma"),
    ("norm_eps-negative", setting(norm_eps=-1.0), ValueError, "norm_eps"),
    ("alpha_in_residual-text", setting(alpha_in_residual="no"), TypeError, "alpha_in_residual"),
]

TABLE = [(op, *row) for op in OPS for row in SHARED]
TABLE += [("lowrank_adam", *row) for row in LOWRANK]


def snapshot(value):
    """Values, dtype and version of every tensor found in nested lists and dicts."""
    if isinstance(value, torch.Tensor):
        if value.device.type == "meta" or value.layout != torch.strided:
            return (value.dtype, tuple(value.shape), value._version)
        return (value.dtype, tuple(value.shape), value._version, value.detach().clone())
    if isinstance(value, (list, tuple)):
        return [snapshot(v) for v in value]
    if isinstance(value, dict):
        return {k: snapshot(v) for k, v in value.items()}
    return value


def same(a, b):
    if isinstance(a, torch.Tensor):
        return torch.equal(torch.nan_to_num(a, 7.5e11), torch.nan_to_num(b, 7.5e11))
    if isinstance(a, (list, tuple)):
        return len(a) == len(b) and all(same(x, y) for x, y in zip(a, b, strict=True))
    if isinstance(a, dict):
        return a.keys() == b.keys() and all(same(a[k], b[k]) for k in a)
    return a == b or (a != a and b != b)


@pytest.mark.parametrize(
    ("op", "change", "error", "words"),
    [(op, change, error, words) for op, _, change, error, words in TABLE],
    ids=[f"{op}-{name}" for op, name, *_ in TABLE],
)
def test_op(op, change, error, words):
    call = good(op)
    change(call)
    before = snapshot(call)
    with pytest.raises(error) as caught:
        getattr(ops, f"{op}_")(**call)
    assert type(caught.value) is error
    message = str(caught.value)
    assert words in message
    assert "got" in message or error is subkern.BackendUnavailableError, message
    assert same(snapshot(call), before), "an argument changed"


@pytest.mark.parametrize("op", OPS)
def test_op_good_arguments_work(op):
    """The table starts from a call that works, else its rows would prove nothing."""
    call = good(op)
    getattr(ops, f"{op}_")(**call)
    assert all(t == 1 for t in call["steps"])


@pytest.mark.parametrize("op", OPS)
def test_op_everything_on_meta_is_a_dry_run(op):
    call = good(op)
    call = {k: [meta(t) for t in v] if isinstance(v, list) else v for k, v in call.items()}
    getattr(ops, f"{op}_")(**call)


def test_column_slices_of_one_buffer_do_not_overlap():
    """Interleaved in memory, sharing no element: legal."""
    buffer = torch.rand(6, 18)
    call = good("lowrank_adam")
    call["params"][:2] = [buffer[:, :9], buffer[:, 9:]]
    alone = copy.deepcopy(call) | {"params": [t.clone() for t in call["params"]]}
    ops.lowrank_adam_(**call)
    ops.lowrank_adam_(**alone)
    for a, b in zip(call["params"], alone["params"], strict=True):
        assert torch.equal(a, b)


@pytest.mark.parametrize("name", ["gpu", "", 3, None, ["cpu"]])
def test_backend(name):
    error = ValueError if isinstance(name, str) else TypeError
    with pytest.raises(error, match="backend"), subkern.backend(name):
        pass


# ---- optimizers -------------------------------------------------------------------------------

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
