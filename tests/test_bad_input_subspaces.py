"""topk_subspace, rsvd and tsqr against bad input: the outcome that the contract names."""

import pytest
import torch

import subkern

G = torch.ones(6, 9)
START = torch.eye(6, 2)


def row(name, error, words, **change):
    return name, change, error, words


SHARED = [
    row("number", TypeError, "must be a tensor", first=1.0),
    row("none", TypeError, "must be a tensor", first=None),
    row("int", TypeError, "got torch.int32", first=G.int()),
    row("complex", TypeError, "got torch.complex64", first=torch.complex(G, G)),
    row("vector", ValueError, "got", first=G[0]),
    row("sparse", ValueError, "dense", first=G.to_sparse()),
    row("backend-unknown", ValueError, "backend", backend="gpu"),
    row("backend-number", TypeError, "backend", backend=3),
    row("check-number", TypeError, "check", check=1),
]
COUNTS = [
    row("rank-float", TypeError, "rank", rank=2.0),
    row("rank-bool", TypeError, "rank", rank=True),
    row("rank-negative", ValueError, "rank", rank=-1),
    row("iters-0", ValueError, "iters", iters=0),
    row("iters-text", TypeError, "iters", iters="2"),
    row("oversample-negative", ValueError, "oversample", oversample=-1),
    row("seed-negative", ValueError, "seed", seed=-1),
    row("seed-float", TypeError, "seed", seed=0.5),
    row(
        "backend-fp64", subkern.BackendUnavailableError, "float64", first=G.double(), backend="cpu"
    ),
    row("backend-absent", subkern.BackendUnavailableError, "triton", backend="triton"),
]


def starts(name):
    return [
        row(f"{name}-shape", ValueError, f"{name} must have shape (6, 2)", **{name: START.T}),
        row(f"{name}-batch", ValueError, f"{name} must have shape (6, 2)", **{name: START[None]}),
        row(f"{name}-meta", ValueError, f"{name} must be on cpu", **{name: START.to("meta")}),
        row(f"{name}-int", TypeError, name, **{name: START.int()}),
        row(f"{name}-list", TypeError, name, **{name: START.tolist()}),
    ]


TOPK = [
    row("side-unknown", ValueError, "side", side="top"),
    row("side-number", TypeError, "side", side=1),
    row("mode-unknown", ValueError, "mode", mode="svd"),
    row("align-unknown", ValueError, "align", align="yes"),
    row("relax-number", TypeError, "relax", relax=1),
    row("relax-cold", ValueError, "relax", relax=True),
    row("relax-oversample", ValueError, "relax", relax=True, q_prev=START, oversample=2),
    row("order-number", TypeError, "order", order=1),
    row("order-procrustes", ValueError, "align", order=True, align="procrustes"),
    row("energy-text", ValueError, "return_energy", return_energy="all"),
    row("energy-start", ValueError, "return_energy", return_energy="start"),
    row("out_dtype-int", ValueError, "out_dtype", out_dtype=torch.int32),
    row("group-text", TypeError, "group", group="world"),
]
RSVD = [row("info-number", TypeError, "info", info=1)]
TSQR = [
    row("wide", ValueError, "no more columns than rows", first=G),
    row("batch", ValueError, "must be a matrix", first=G.T[None]),
    row("method-unknown", ValueError, "method", method="householder"),
    row("group-number", TypeError, "group", group=3),
    row("info-number", TypeError, "info", info=1),
]
TABLE = [("topk_subspace", *r) for r in SHARED + COUNTS + starts("q_prev") + TOPK]
TABLE += [("rsvd", *r) for r in SHARED + COUNTS + starts("q0") + RSVD]
TABLE += [("tsqr", *r) for r in SHARED + TSQR]


@pytest.mark.parametrize(
    ("op", "change", "error", "words"),
    [(op, *rest) for op, _, *rest in TABLE],
    ids=[f"{op}-{name}" for op, name, *_ in TABLE],
)
def test_bad_input(op, change, error, words):
    call = dict(first=G.T if op == "tsqr" else G) | change
    first = call.pop("first")
    if op != "tsqr":
        call.setdefault("rank", 2)
    with pytest.raises(error) as caught:
        getattr(subkern, op)(first, **call)
    message = str(caught.value)
    assert message.startswith((f"{op}: ", "backend="))
    assert words in message
    assert "got" in message or error is subkern.BackendUnavailableError


@pytest.mark.parametrize("op", ["topk_subspace", "rsvd", "tsqr"])
def test_good_arguments_work(op):
    """The table starts from a call that works, else its rows would prove nothing."""
    assert getattr(subkern, op)(*((G.T,) if op == "tsqr" else (G, 2)))
