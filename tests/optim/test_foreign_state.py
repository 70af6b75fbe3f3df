"""State dicts of the official packages load into ours, and the run goes on."""

from __future__ import annotations

import copy

import pytest
import torch

from .peers import OURS, SCALE_KEY, canonical_side, inject_bases, official, official_bases, relative

SHAPES = ((12, 20), (20, 12))
GAP = 4


def gradient(generator, shape, call):
    return torch.randn(shape, generator=generator) * 1.1**call


def official_run(kind, shape, proj_type, calls, dtype=torch.float32):
    torch.manual_seed(0)
    params = [torch.nn.Parameter(torch.randn(shape).to(dtype)) for _ in range(2)]
    group = {"rank": 3, "update_proj_gap": GAP, "proj_type": proj_type, SCALE_KEY[kind]: 0.25}
    bias = torch.nn.Parameter(torch.randn(shape[0]).to(dtype))
    groups = [{"params": [bias]}, {"params": params, **group}]
    theirs = official(kind)(groups, lr=0.02, weight_decay=0.1, no_deprecation_warning=True)
    everything, generator = [bias, *params], torch.Generator().manual_seed(1)
    for call in range(calls):
        for p in everything:
            p.grad = gradient(generator, p.shape, call).to(dtype)
        theirs.step()
    return theirs, everything, generator


def twin(kind, everything, **group):
    """Ours on copies of the parameters, with other settings than the checkpoint's."""
    copies = [torch.nn.Parameter(p.detach().clone()) for p in everything]
    groups = [{"params": copies[:1]}, {"params": copies[1:], "rank": 3, **group}]
    return OURS[kind](groups, lr=1.0), copies


CASES = [("galore", t) for t in ("std", "reverse_std", "left", "right", "full")]
CASES += [("fira", t) for t in ("std", "reverse_std")]


@pytest.mark.parametrize("calls", [1, 3, GAP, GAP + 2])
@pytest.mark.parametrize("shape", SHAPES, ids=str)
@pytest.mark.parametrize(("kind", "proj_type"), CASES)
def test_run_continues(backend, monkeypatch, kind, proj_type, shape, calls):
    theirs, everything, generator = official_run(kind, shape, proj_type, calls)
    ours, copies = twin(kind, everything, proj_type=proj_type)
    # A copy, as from a file: the official step goes on in place.
    ours.load_state_dict(copy.deepcopy(theirs.state_dict()))

    state = ours.state[copies[1]]
    assert all(isinstance(t, torch.Tensor) for s in ours.state.values() for t in s.values())
    assert int(state["step"]) == int(state["calls"]) == calls
    assert state["step"].dtype == torch.float32
    assert int(state["refreshes"]) == 1
    assert ours.param_groups[1]["scale"] == 0.25
    assert ours.param_groups[1]["update_proj_gap"] == GAP
    assert ours.param_groups[0]["lr"] == 0.02
    assert ours.param_groups[1]["basis"] == "warm"

    side = canonical_side(shape, proj_type)
    order = []

    def inject(G, *_):
        i = next(i for i, p in enumerate(copies) if p.grad is G)
        order.append(i)
        return official_bases(theirs.state[everything[i]]["projector"], side)

    inject_bases(monkeypatch, inject)
    due = []
    for call in range(calls, calls + 2 * GAP):
        for p, q in zip(everything, copies, strict=True):
            p.grad = gradient(generator, p.shape, call)
            q.grad = p.grad.clone()
        theirs.step()
        ours.step()
        due += [call] if order else []
        order.clear()
    assert due == [c for c in range(calls, calls + 2 * GAP) if c % GAP == 0]
    for p, q in zip(everything, copies, strict=True):
        assert relative(q, p) <= 1e-5
        for name in ("exp_avg", "exp_avg_sq"):
            assert relative(ours.state[q][name], theirs.state[p][name]) <= 1e-5, name
    if kind == "fira":
        prev = theirs.state[everything[1]]["scaling_grad"]
        assert relative(ours.state[copies[1]]["limiter"], prev) <= 1e-5


def test_loading_copies():
    theirs, everything, _ = official_run("galore", (12, 20), "std", 2)
    ours, copies = twin("galore", everything)
    saved = theirs.state_dict()
    ours.load_state_dict(saved)
    loaded = ours.state[copies[1]]
    for name in ("exp_avg", "exp_avg_sq"):
        assert torch.equal(loaded[name], saved["state"][1][name])
        assert loaded[name].data_ptr() != saved["state"][1][name].data_ptr()
    matrix = saved["state"][1]["projector"].ortho_matrix
    assert torch.equal(loaded["basis"], matrix)
    assert loaded["basis"].is_contiguous()
    assert loaded["basis"].untyped_storage().data_ptr() != matrix.untyped_storage().data_ptr()


@pytest.mark.parametrize("kind", ["galore", "fira"])
def test_bfloat16_moments_become_float32(backend, kind):
    theirs, everything, _ = official_run(kind, (12, 20), "std", 2, torch.bfloat16)
    ours, copies = twin(kind, everything)
    ours.load_state_dict(theirs.state_dict())
    for p, q in zip(everything, copies, strict=True):
        exp_avg = ours.state[q]["exp_avg"]
        assert exp_avg.dtype == torch.float32
        assert torch.equal(exp_avg, theirs.state[p]["exp_avg"].float())
        q.grad = torch.ones_like(q)
    assert ours.state[copies[1]]["basis"].dtype == torch.bfloat16
    ours.step()
    assert int(ours.state[copies[1]]["step"]) == 3


def test_missing_keys_start_fresh(backend):
    """A galore-torch checkpoint in Fira: the limiter starts anew, the rest goes on."""
    theirs, everything, _ = official_run("galore", (12, 20), "std", 3)
    ours, copies = twin("fira", everything)
    ours.load_state_dict(theirs.state_dict())
    state = ours.state[copies[1]]
    assert float(state["limiter"]) == 0.0
    assert int(state["step"]) == 3
    for q in copies:
        q.grad = torch.ones_like(q)
    ours.step()
    assert float(state["limiter"]) > 0.0


def test_projector_without_a_basis_refreshes_first(backend):
    theirs, everything, _ = official_run("galore", (12, 20), "std", 3)
    ours, copies = twin("galore", everything)
    saved = theirs.state_dict()
    saved["state"][1]["projector"].ortho_matrix = None
    ours.load_state_dict(saved)
    assert [int(ours.state[q]["refreshes"]) for q in copies[1:]] == [0, 1]
    copies[1].grad = torch.ones(12, 20)
    ours.step()
    assert int(ours.state[copies[1]]["refreshes"]) == 1


def test_wrong_shapes_are_named():
    theirs, everything, _ = official_run("galore", (12, 20), "std", 2)
    ours, _ = twin("galore", everything)

    def refused(message, change):
        saved = copy.deepcopy(theirs.state_dict())
        change(saved["state"])
        with pytest.raises(ValueError, match=message):
            ours.load_state_dict(saved)

    refused(
        r"GaLoreAdamW: state of parameter 1: exp_avg must have shape \(3, 20\), got \(4, 20\)",
        lambda state: state[1].update(exp_avg=torch.zeros(4, 20)),
    )
    refused(
        r"parameter 2: basis must have shape \(12, 3\), got \(12, 5\)",
        lambda state: setattr(state[2]["projector"], "ortho_matrix", torch.zeros(12, 5)),
    )
    refused(
        "parameter 2: projector must hold one matrix for side 'left', got list",
        lambda state: setattr(state[2]["projector"], "ortho_matrix", [torch.zeros(12, 3)] * 2),
    )


def test_torch_adamw_state_loads_into_unprojected_groups(backend):
    p = torch.nn.Parameter(torch.randn(5))
    q = torch.nn.Parameter(p.detach().clone())
    theirs, ours = torch.optim.AdamW([p], lr=0.02), OURS["galore"]([q])
    p.grad = torch.ones(5)
    theirs.step()
    ours.load_state_dict(theirs.state_dict())
    assert int(ours.state[q]["step"]) == 1
    assert torch.equal(ours.state[q]["exp_avg"], theirs.state[p]["exp_avg"])
    q.grad = torch.ones(5)
    ours.step()
    assert int(ours.state[q]["step"]) == 2
