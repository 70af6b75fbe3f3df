"""bfloat16 storage: our error against the float64 model is at most 1.1 times the official one."""

from __future__ import annotations

import pytest
import torch

from .peers import (
    OURS,
    SCALE_KEY,
    Literal,
    canonical_side,
    inject_bases,
    official,
    official_bases,
    relative,
)

LR, GAP, STEPS, RANK, SCALE = 0.01, 10, 25, 8, 0.25
SHAPES = ((48, 80), (80, 48), (192, 320), (37, 53))
CASES = [("galore", t) for t in ("std", "reverse_std", "full")]
CASES += [("fira", t) for t in ("std", "reverse_std")]


def errors(monkeypatch, kind, proj_type, shape, states):
    """Errors of (theirs, ours) against the float64 model, per tensor name."""
    generator = torch.Generator().manual_seed(5)
    W = (torch.randn(shape, generator=generator) * 0.1).bfloat16()
    theirs_p, ours_p = (torch.nn.Parameter(W.clone()) for _ in range(2))
    group = dict(rank=RANK, update_proj_gap=GAP, proj_type=proj_type)
    group[SCALE_KEY[kind]] = SCALE
    kw = dict(lr=LR, weight_decay=0.1, no_deprecation_warning=True)
    theirs = official(kind)([dict(params=[theirs_p], **group)], **kw)
    ours = OURS[kind]([dict(params=[ours_p], **group)], states=states, **kw)
    side = canonical_side(shape, proj_type)
    model = Literal(W, kind, side, lr=LR, scale=SCALE, weight_decay=0.1)

    def inject(*_):
        return official_bases(theirs.state[theirs_p]["projector"], side)

    inject_bases(monkeypatch, inject)
    for call in range(STEPS):
        G = (torch.randn(shape, generator=generator) * 1.03**call).bfloat16()
        theirs_p.grad, ours_p.grad = G.clone(), G.clone()
        theirs.step()
        ours.step()
        model.step(G, inject())
    their_state, our_state = theirs.state[theirs_p], ours.state[ours_p]
    assert our_state["basis"].dtype == torch.bfloat16
    result = {"W": (relative(theirs_p, model.W), relative(ours_p, model.W))}
    for name, exact in (("exp_avg", model.M), ("exp_avg_sq", model.V)):
        result[name] = (relative(their_state[name], exact), relative(our_state[name], exact))
    return result, our_state


@pytest.mark.parametrize("shape", SHAPES, ids=str)
@pytest.mark.parametrize(("kind", "proj_type"), CASES)
def test_float32_moments(backend, monkeypatch, kind, proj_type, shape):
    result, state = errors(monkeypatch, kind, proj_type, shape, "fp32")
    assert state["exp_avg"].dtype == torch.float32
    for name, (theirs, ours) in result.items():
        assert ours <= 1.1 * theirs, name


@pytest.mark.parametrize("shape", SHAPES, ids=str)
@pytest.mark.parametrize(("kind", "proj_type"), CASES)
def test_reference_states(monkeypatch, kind, proj_type, shape):
    """Moments in bfloat16, as published: served by the reference backend alone."""
    result, state = errors(monkeypatch, kind, proj_type, shape, "reference")
    assert state["exp_avg"].dtype == state["exp_avg_sq"].dtype == torch.bfloat16
    for name, (theirs, ours) in result.items():
        assert ours <= 1.1 * theirs, name
