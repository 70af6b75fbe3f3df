"""Ops and the backend switch against bad input: the outcome the contract names, nothing changed.

Each row is a name, a change of good arguments, and the outcome: an exception and a piece of its
message.
"""

import copy
import math

import pytest
import torch
from sktest.lowrank import make
from sktest.snapshot import same, snapshot

import subkern
from subkern import ops

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
    ("lr-elsewhere", setting(lr=torch.ones((), device="meta")), ValueError, "lr"),
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
