"""Ops allocate by neither the caller's default dtype nor the caller's default device.

Models are often built under a default dtype of bfloat16: memory of half the size behind a kernel
that writes float32 would be overrun.
"""

import contextlib

import pytest
import torch
from sktest import lowrank
from sktest.linalg import same_bits

import subkern
from subkern.ops import adam_, packed_adamw_

X = torch.randn(3, 40, 12, generator=torch.Generator().manual_seed(0))
OPS = {
    "orthonormalize": lambda: subkern.orthonormalize(X, return_r=True, info=True),
    "orthonormalize-wide": lambda: subkern.orthonormalize(X.reshape(1, 120, 12)[:, :, :9]),
    "svd_small": lambda: subkern.svd_small(X, info=True),
    "eigh_small": lambda: subkern.eigh_small(X.mT @ X),
    "gram": lambda: subkern.gram(X),
    "gram-fp64": lambda: subkern.gram(X, accumulate="fp64"),
    "topk_subspace": lambda: subkern.topk_subspace(X, 4),
    "topk_subspace-warm": lambda: subkern.topk_subspace(X, 4, q_prev=X[:, :, :4].mT[:, :, :12].mT),
    "rsvd": lambda: subkern.rsvd(X, 4),
    "svd_factored": lambda: subkern.svd_factored(X.mT, X[:, 0].abs(), X.mT, info=True),
    "sample_without_replacement": lambda: subkern.sample_without_replacement(
        X[..., 0].abs(), 9, seed=1, gather=(X,), info=True
    ),
    "polar": lambda: subkern.polar(X),
    "kth_largest": lambda: tuple(x.reshape(1) for x in subkern.kth_largest(X, 50, counts=True)),
    "update_mask": lambda: subkern.update_mask(X, X.abs(), X > 0.5, 9),
}
BACKENDS = ["cpu", "reference"]


@contextlib.contextmanager
def other_defaults():
    before = torch.get_default_dtype()
    torch.set_default_dtype(torch.bfloat16)
    try:
        with torch.device("meta"):
            yield
    finally:
        torch.set_default_dtype(before)


def tensors(results) -> list[torch.Tensor]:
    results = results if isinstance(results, tuple) else (results,)
    return [x for x in results if isinstance(x, torch.Tensor)]


@pytest.mark.parametrize("backend", BACKENDS)
@pytest.mark.parametrize("op", OPS)
def test_linear_algebra(op, backend):
    with subkern.backend(backend):
        expected = tensors(OPS[op]())
        with other_defaults():
            found = tensors(OPS[op]())
    assert expected
    for got, want in zip(found, expected, strict=True):
        assert got.dtype == want.dtype
        assert got.device == want.device
        assert same_bits(got, want).all()


@pytest.mark.parametrize("backend", BACKENDS)
@pytest.mark.parametrize("rule", ["galore", "fira"])
@pytest.mark.parametrize("side", ["left", "full"])
def test_lowrank_adam(side, rule, backend):
    problem = lowrank.make(140, 150, 20, side, rule, count=2)
    other = problem.clone()
    problem.step(backend)
    with other_defaults():
        other.step(backend)
    for name in lowrank.WRITTEN:
        for got, want in zip(getattr(other, name), getattr(problem, name), strict=True):
            assert torch.equal(got, want), name


@pytest.mark.parametrize("backend", BACKENDS)
def test_adam(backend):
    def step(context):
        generator = torch.Generator().manual_seed(1)
        lists = [[torch.randn(37, generator=generator)] for _ in range(2)]
        state = [[torch.zeros(37)], [torch.zeros(37)], [torch.zeros(())], [torch.zeros(())]]
        with context:
            adam_(*lists, *state, lr=1e-2, backend=backend)
        return [t[0] for t in (*lists, *state)]

    for got, want in zip(step(other_defaults()), step(contextlib.nullcontext()), strict=True):
        assert torch.equal(got, want)


@pytest.mark.parametrize("backend", BACKENDS)
@pytest.mark.parametrize("own", [False, True], ids=["shared-t", "own-t"])
def test_packed_adamw(own, backend):
    def step(context):
        generator = torch.Generator().manual_seed(1)
        w, g = (torch.randn(60, generator=generator) for _ in range(2))
        at = torch.randperm(60, generator=generator)[:17]
        m, v, t = torch.zeros(17), torch.zeros(17), torch.zeros((17,) if own else ())
        with context:
            packed_adamw_([w], [g], [at], [m], [v], [t], lr=1e-2, backend=backend)
        return [w, m, v, t]

    for got, want in zip(step(other_defaults()), step(contextlib.nullcontext()), strict=True):
        assert torch.equal(got, want)
