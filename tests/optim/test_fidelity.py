"""The official packages and ours take the same steps when given the same bases."""

from __future__ import annotations

import sys

import pytest
import torch

import subkern

from .peers import (
    OURS,
    SCALE_KEY,
    Literal,
    canonical_side,
    inject_bases,
    official,
    official_bases,
    relative,
    svd_bases,
)

PROJ_TYPES = ("std", "reverse_std", "left", "right", "full")
# The last two cross the width where the CPU backend changes its matrix product.
SHAPES = ((48, 80), (80, 48), (64, 64), (37, 53), (320, 192), (192, 320))
GAP, STEPS = 20, 50  # refreshes on calls 1, 21 and 41
LR = 0.01


def generic_bases(G, rank, side):
    """Orthonormal bases that do not diagonalize P^T G Q.

    With exact ones Adam blows the round-off in the off-diagonal zeros up to full size, and only the
    same order of sums can agree to 1e-6 (:func:`test_full_with_exact_bases`).
    """
    generator = torch.Generator().manual_seed(int(G.abs().sum()))
    return svd_bases(torch.randn(G.shape, generator=generator), rank, side)


def _generic(_projector, weights, rank, type):
    P, Q = generic_bases(weights, rank, "full")
    return [P, Q.T]


class Pair:
    """An official optimizer and ours on one matrix; each official basis is copied into ours."""

    def __init__(
        self, monkeypatch, kind, proj_type, shape, *, rank=8, gap=GAP, scale=0.25, exact=False, **kw
    ):
        generator = torch.Generator().manual_seed(sum(shape))
        W = torch.randn(shape, generator=generator) * 0.1
        self.theirs_p, self.ours_p = (torch.nn.Parameter(W.clone()) for _ in range(2))
        group = {
            "rank": rank,
            "update_proj_gap": gap,
            "proj_type": proj_type,
            SCALE_KEY[kind]: scale,
        }
        kw = {"lr": LR, "no_deprecation_warning": True} | kw
        self.theirs = official(kind)([{"params": [self.theirs_p], **group}], **kw)
        self.ours = OURS[kind]([{"params": [self.ours_p], **group}], **kw)
        self.side = canonical_side(shape, proj_type)
        self.calls, self.our_refreshes, self.their_refreshes = 0, [], []
        self.generator = generator
        inject_bases(monkeypatch, self._inject)
        if self.side == "full" and not exact:
            module = sys.modules[type(self.theirs).__module__]
            monkeypatch.setattr(module.GaLoreProjector, "get_orthogonal_matrix", _generic)

    def _inject(self, *_):
        self.our_refreshes.append(self.calls)
        return official_bases(self.their_state["projector"], self.side)

    @property
    def their_state(self):
        return self.theirs.state[self.theirs_p]

    @property
    def our_state(self):
        return self.ours.state[self.ours_p]

    def step(self, G):
        self.calls += 1
        projector = self.their_state.get("projector")
        before = getattr(projector, "ortho_matrix", None)
        self.theirs_p.grad, self.ours_p.grad = G.clone(), G.clone()
        self.theirs.step()
        if self.their_state["projector"].ortho_matrix is not before:
            self.their_refreshes.append(self.calls)
        self.ours.step()

    def growing_gradient(self):
        """Gradients that grow faster than the limiter lets the residual grow."""
        G = torch.randn(self.theirs_p.shape, generator=self.generator)
        return G * 1.03**self.calls

    def equalize(self):
        """Our state becomes the official one: the next step starts from equal numbers."""
        self.ours_p.data.copy_(self.theirs_p.data)
        for name in ("exp_avg", "exp_avg_sq"):
            self.our_state[name].copy_(self.their_state[name])
        if "scaling_grad" in self.their_state:
            self.our_state["limiter"].copy_(self.their_state["scaling_grad"])

    def check(self, bound):
        assert int(self.our_state["step"]) == self.their_state["step"] == self.calls
        assert relative(self.ours_p, self.theirs_p) <= bound, "W"
        for name in ("exp_avg", "exp_avg_sq"):
            assert relative(self.our_state[name], self.their_state[name]) <= bound, name
        if "scaling_grad" in self.their_state:
            prev = self.their_state["scaling_grad"]
            assert relative(self.our_state["limiter"], prev) <= 1e-5, "limiter"


@pytest.fixture(params=[("galore", t) for t in PROJ_TYPES] + [("fira", t) for t in PROJ_TYPES[:4]])
def method(request):
    """Official fira fails for proj_type full, see :func:`test_fira_full`."""
    return request.param


@pytest.mark.parametrize("weight_decay", [0.0, 0.1])
@pytest.mark.parametrize("shape", SHAPES, ids=str)
def test_fifty_steps(backend, monkeypatch, method, shape, weight_decay):
    pair = Pair(monkeypatch, *method, shape, weight_decay=weight_decay)
    for _ in range(STEPS):
        pair.step(pair.growing_gradient())
    pair.check(1e-5)
    assert pair.our_refreshes == pair.their_refreshes == [1, GAP + 1, 2 * GAP + 1]


@pytest.mark.parametrize("correct_bias", [True, False])
@pytest.mark.parametrize("scale", [1.0, 0.25])
@pytest.mark.parametrize("shape", SHAPES, ids=str)
def test_single_steps(backend, monkeypatch, method, shape, scale, correct_bias):
    pair = Pair(
        monkeypatch,
        *method,
        shape,
        gap=3,
        scale=scale,
        correct_bias=correct_bias,
        weight_decay=0.1,
    )
    for _ in range(8):
        pair.step(pair.growing_gradient())
        pair.check(1e-6)
        pair.equalize()
    assert pair.our_refreshes == pair.their_refreshes == [1, 4, 7]


@pytest.mark.parametrize("shape", SHAPES[:3], ids=str)
@pytest.mark.parametrize("proj_type", ["std", "reverse_std"])
def test_limiter_fires_as_published(backend, monkeypatch, proj_type, shape):
    pair = Pair(monkeypatch, "fira", proj_type, shape, gap=5)
    fired = 0
    for call in range(12):
        before = float(pair.our_state["limiter"])
        pair.step(torch.randn(shape, generator=pair.generator) * 1.5**call)
        after = float(pair.our_state["limiter"])
        # A residual that outgrows gamma leaves exactly gamma times the last norm.
        fired += call > 0 and after == pytest.approx(1.01 * before, rel=1e-5)
        pair.check(1e-5)
    assert fired >= 3


@pytest.mark.parametrize("kind", ["galore", "fira"])
def test_unprojected_group(backend, kind):
    theirs_p = torch.nn.Parameter(torch.linspace(-1, 1, 129))
    ours_p = torch.nn.Parameter(theirs_p.detach().clone())
    kw = dict(lr=LR, weight_decay=0.1, no_deprecation_warning=True)
    theirs, ours = official(kind)([theirs_p], **kw), OURS[kind]([ours_p], **kw)
    generator = torch.Generator().manual_seed(1)
    for _ in range(STEPS):
        theirs_p.grad = torch.randn(129, generator=generator)
        ours_p.grad = theirs_p.grad.clone()
        theirs.step(), ours.step()
    assert relative(ours_p, theirs_p) <= 1e-5
    for name in ("exp_avg", "exp_avg_sq"):
        assert relative(ours.state[ours_p][name], theirs.state[theirs_p][name]) <= 1e-5, name


def literal_run(monkeypatch, kind, shape, proj_type, dtype, bases_of, *, rank=6, scale=0.25, **kw):
    """Fifty steps of ours and of the literal model with the same bases."""
    generator = torch.Generator().manual_seed(11)
    p = torch.nn.Parameter(torch.randn(shape, generator=generator) * 0.1)
    side = canonical_side(shape, proj_type)
    group = dict(params=[p], rank=rank, update_proj_gap=GAP, proj_type=proj_type, scale=scale)
    optimizer = OURS[kind]([group], lr=LR, **kw)
    model = Literal(p, kind, side, lr=LR, scale=scale, dtype=dtype, **kw)
    inject_bases(monkeypatch, bases_of)
    for call in range(STEPS):
        p.grad = torch.randn(shape, generator=generator) * 1.03**call
        if call % GAP == 0:
            bases = bases_of(p.grad, rank, side)
        optimizer.step()
        model.step(p.grad, bases)
    return p, optimizer.state[p], model


def check_fira_full(p, state, model):
    assert relative(p, model.W) <= 1e-5
    assert relative(state["exp_avg"], model.M) <= 1e-5
    assert relative(state["exp_avg_sq"], model.V) <= 1e-5
    assert float(state["limiter"]) == pytest.approx(model.prev, rel=1e-5)
    assert model.fired > 0


@pytest.mark.parametrize("weight_decay", [0.0, 0.1])
@pytest.mark.parametrize("shape", SHAPES, ids=str)
def test_fira_full(backend, monkeypatch, shape, weight_decay):
    """One phi for the matrix; the official code fails on its shapes, so float64 judges."""
    kw = dict(weight_decay=weight_decay)
    run = literal_run(monkeypatch, "fira", shape, "full", torch.float64, generic_bases, **kw)
    check_fira_full(*run)


@pytest.mark.parametrize("shape", SHAPES, ids=str)
def test_full_with_exact_bases(monkeypatch, shape):
    """The reference sums in the published order, so even the amplified round-off agrees."""
    with subkern.backend("reference"):
        run = literal_run(monkeypatch, "fira", shape, "full", torch.float32, svd_bases)
        check_fira_full(*run)
        pair = Pair(monkeypatch, "galore", "full", shape, gap=3, exact=True)
        for _ in range(8):
            pair.step(pair.growing_gradient())
            pair.check(1e-6)
            pair.equalize()


@pytest.mark.parametrize("shape", [(6, 20), (20, 6)], ids=str)
def test_reverse_std_at_full_rank(backend, monkeypatch, shape):
    """The official code fails when reverse_std meets rank == min(m, n) on a wide matrix."""
    p, state, model = literal_run(
        monkeypatch, "galore", shape, "reverse_std", torch.float64, generic_bases
    )
    assert relative(p, model.W) <= 1e-5
    assert relative(state["exp_avg"], model.M) <= 1e-5


def test_literal_model_is_the_published_one(monkeypatch):
    """The judge itself: official fira in float64 agrees with the literal model to 1e-12."""
    generator = torch.Generator().manual_seed(3)
    p = torch.nn.Parameter(torch.randn(20, 30, generator=generator, dtype=torch.float64))
    group = dict(params=[p], rank=4, update_proj_gap=10, proj_type="std", alpha=0.25)
    optimizer = official("fira")([group], lr=LR, weight_decay=0.1, no_deprecation_warning=True)
    model = Literal(p, "fira", "left", lr=LR, scale=0.25, weight_decay=0.1)
    for call in range(25):
        p.grad = torch.randn(20, 30, generator=generator, dtype=torch.float64) * 1.1**call
        optimizer.step()
        model.step(p.grad, official_bases(optimizer.state[p]["projector"], "left"))
    assert relative(p, model.W) <= 1e-12
    assert relative(optimizer.state[p]["scaling_grad"], torch.tensor(model.prev)) <= 1e-6
    assert model.fired > 0
