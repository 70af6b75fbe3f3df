"""SSTAdamW: draws, restarts, decompositions, resume, and what it leaves alone."""

import copy
import io
import math

import pytest
import torch
from sktest import emulated_cuda
from torch import nn

import subkern
from subkern.nn import convert_to_sst, sst_layers
from subkern.optim import SSTAdamW

KEYS = dict(lr=0.01, iteration_steps=4, iterations_per_round=3, warmup_steps=2)


def small_model(dtype=torch.float32, rank=3):
    torch.manual_seed(0)
    model = nn.Sequential(nn.Linear(20, 12), nn.Tanh(), nn.LayerNorm(12), nn.Linear(12, 8))
    return convert_to_sst(model, rank=rank).to(dtype)


def train(model, optimizer, steps, start=0):
    for i in range(start, start + steps):
        generator = torch.Generator().manual_seed(i)
        x, y = (torch.randn(16, d, generator=generator).to(model[0].S.dtype) for d in (20, 8))
        optimizer.zero_grad()
        loss = (model(x) - y).square().mean()
        loss.backward()
        optimizer.step()
    return float(loss.detach())


def bits(model):
    return {name: t.clone() for name, t in model.state_dict().items()}


def assert_equal(a, b):
    for name, value in bits(a).items():
        assert torch.equal(value, b.state_dict()[name]), name


def test_it_trains():
    torch.manual_seed(1)
    model, (x, y) = small_model(), (torch.randn(64, 20), torch.randn(64, 8))
    optimizer, losses = SSTAdamW(model, **KEYS), []
    for _ in range(150):
        optimizer.zero_grad()
        losses.append((model(x) - y).square().mean())
        losses[-1].backward()
        optimizer.step()
    assert losses[-1] < 0.5 * losses[0]


def test_only_sampled_vectors_move_within_an_iteration():
    model = small_model()
    optimizer = SSTAdamW(model, **KEYS)
    before = copy.deepcopy(model)
    train(model, optimizer, KEYS["iteration_steps"] - 1)
    for (_, layer), (_, old) in zip(sst_layers(model), sst_layers(before), strict=True):
        assert torch.equal(layer.sampled, old.sampled)
        assert torch.equal(layer.Uh[layer.sampled], layer.U_sampled)
        assert torch.equal(layer.Vh[layer.sampled], layer.V_sampled)
        for table, was in ((layer.Uh, old.Uh), (layer.Vh, old.Vh)):
            moved = (table != was).any(dim=1).nonzero().flatten()
            assert moved.tolist() == layer.sampled.sort().values.tolist()
            assert (table.norm(dim=1) - 1).abs().max() < 1e-6
        assert (layer.S != old.S).all()


def test_a_draw_restarts_vectors_and_keeps_values():
    model = small_model()
    optimizer = SSTAdamW(model, **KEYS)
    layer = model[0]
    train(model, optimizer, KEYS["iteration_steps"] - 1)
    assert float(optimizer.state[layer.U_sampled]["step"]) == KEYS["iteration_steps"] - 1
    drawn = layer.sampled.clone()
    train(model, optimizer, 1)
    assert not torch.equal(layer.sampled, drawn)
    for p in (layer.U_sampled, layer.V_sampled):
        state = optimizer.state[p]
        assert not any(state[name].any() for name in ("exp_avg", "exp_avg_sq", "step"))
    values = optimizer.state[layer.S]
    assert float(values["step"]) == KEYS["iteration_steps"]
    assert values["exp_avg"].all()


def test_reset_values_restarts_them_too():
    model = small_model()
    optimizer = SSTAdamW(model, reset_values=True, **KEYS)
    train(model, optimizer, KEYS["iteration_steps"])
    assert not any(t.any() for t in optimizer.state[model[0].S].values())


def test_a_round_restores_orthogonality_and_keeps_the_product():
    model = small_model(rank=6)
    optimizer = SSTAdamW(model, **{**KEYS, "lr": 0.05})
    steps = KEYS["iteration_steps"] * KEYS["iterations_per_round"]
    train(model, optimizer, steps - 1)
    layer = model[0]

    def distance():
        return float(subkern.diagnostics.orthonormality_error(layer.Uh.detach().mT))

    assert distance() > 1e-3
    lazy = copy.deepcopy((model, optimizer))
    lazy[1].param_groups[0]["iterations_per_round"] = 10**6
    train(model, optimizer, 1, start=steps - 1)
    train(*lazy, 1, start=steps - 1)
    assert distance() < 1e-5
    torch.testing.assert_close(layer.weight, lazy[0][0].weight, rtol=0, atol=1e-5)
    assert (layer.S.diff() <= 0).all()
    # The moments of the largest value went with it.
    order = lazy[0][0].S.argsort(descending=True)
    moments = (o.state[m[0].S]["exp_avg"] for m, o in ((model, optimizer), lazy))
    assert torch.equal(next(moments), next(moments)[order])


def test_default_round_draws_about_every_pair_once():
    model = small_model(rank=5)
    optimizer = SSTAdamW(model, lr=0.05, iteration_steps=1)
    layer, rounds = model[0], math.ceil(12 / 5)
    errors = []
    for i in range(2 * rounds):
        train(model, optimizer, 1, start=i)
        errors.append(float(subkern.diagnostics.orthonormality_error(layer.Uh.detach().mT)))
    restored = [error < 1e-5 for error in errors]
    assert restored == [(i + 1) % rounds == 0 for i in range(2 * rounds)]


def test_draws_follow_the_weights():
    """Chi-square of how often each pair is drawn first against u / k + (1 - u) S / sum S."""
    layer = convert_to_sst(nn.Linear(6, 6), rank=1)
    S = torch.tensor([4.0, 2.0, 1.0, 1.0, 0.0, 0.0])
    with torch.no_grad():
        layer.S.copy_(S)
    draws = 3000
    for uniform in (0.0, 0.5, 1.0):
        optimizer = SSTAdamW(layer, uniform=uniform, seed=5)
        counts = torch.zeros(6, dtype=torch.float64)
        for _ in range(draws):
            counts[layer.sampled] += 1
            optimizer.param_groups[0]["iterations_per_round"] = 10**9
            optimizer.next_iteration()
        p = uniform / 6 + (1 - uniform) * S.double() / S.sum()
        assert not counts[p == 0].any()
        expected = draws * p[p > 0]
        chi = float(((counts[p > 0] - expected) ** 2 / expected).sum())
        # Below the 1e-4 quantile of chi-square with five degrees of freedom, 25.7.
        assert chi < 25.7, f"uniform={uniform}: {counts.tolist()}"


def test_layers_and_seeds_draw_apart():
    def pairs(seed):
        model = nn.Sequential(*(nn.Linear(40, 40) for _ in range(2)))
        SSTAdamW(convert_to_sst(model, rank=8), seed=seed, uniform=1.0)
        return [layer.sampled.tolist() for _, layer in sst_layers(model)]

    first, second = pairs(0), pairs(1)
    assert first == pairs(0)
    assert len({tuple(p) for p in (*first, *second)}) == 4


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16], ids=["fp32", "bf16"])
@pytest.mark.parametrize("steps", [3, 4, 14])
def test_resume_is_exact(dtype, steps):
    model = small_model(dtype)
    optimizer = SSTAdamW(model, **KEYS)
    train(model, optimizer, steps)
    stream = io.BytesIO()
    torch.save({"model": model.state_dict(), "optimizer": optimizer.state_dict()}, stream)
    stream.seek(0)
    saved = torch.load(stream, weights_only=True)
    for model_first in (True, False):
        other = small_model(dtype)
        if model_first:  # the new optimizer draws; loading it must bring the old pairs back
            other.load_state_dict(saved["model"])
        resumed = SSTAdamW(other, lr=1.0)
        resumed.load_state_dict(copy.deepcopy(saved["optimizer"]))
        if not model_first:
            other.load_state_dict(saved["model"])
        states = zip(optimizer.state.values(), resumed.state.values(), strict=True)
        for state, loaded in states:
            assert {k: (t.dtype, t.tolist()) for k, t in state.items()} == {
                k: (t.dtype, t.tolist()) for k, t in loaded.items()
            }
        ours = copy.deepcopy((model, optimizer))
        train(*ours, 11, start=steps)
        train(other, resumed, 11, start=steps)
        assert_equal(ours[0], other)


def test_groups_and_their_layers():
    model = small_model()
    first, last = model[0], model[3]
    plain = [{"params": model[2].parameters(), "weight_decay": 0.0}]
    groups = [
        {"params": [p for p in first.parameters() if p.requires_grad], "lr": 0.1},
        {"params": [p for p in last.parameters() if p.requires_grad], "layers": [last]},
    ]
    optimizer = SSTAdamW(plain + groups, layers=[first], **KEYS)
    assert "layers" not in optimizer.param_groups[2]
    one = small_model()
    other = SSTAdamW(one, **{**KEYS, "weight_decay": 0.0})
    optimizer.param_groups[1]["lr"] = KEYS["lr"]
    for group in optimizer.param_groups:
        group["weight_decay"] = 0.0
    train(model, optimizer, 30)
    train(one, other, 30)
    assert_equal(model, one)


def test_the_step_is_that_of_the_reference_backend():
    model, other = small_model(torch.float32), small_model(torch.float32)
    optimizer, peer = SSTAdamW(model, **KEYS), SSTAdamW(other, **KEYS)
    for i in range(3):
        train(model, optimizer, 1, start=i)
        with subkern.backend("reference"):
            train(other, peer, 1, start=i)
        for name, value in model.state_dict().items():
            torch.testing.assert_close(value, other.state_dict()[name], rtol=1e-5, atol=1e-6)


def test_on_the_kernels_of_cuda():
    """Steps, draws and a decomposition by the emulated kernels; the weights as on the CPU."""
    keys = KEYS | dict(iteration_steps=2, iterations_per_round=2)
    model, other = small_model(), small_model()
    train(other, SSTAdamW(other, **keys), 6)
    with emulated_cuda.install() as kernels, subkern.backend("cuda"):
        before = kernels.call_counts()
        train(model, SSTAdamW(model, **keys), 6)
        made = {k: n - before[k] for k, n in kernels.call_counts().items() if n != before[k]}
    assert made["sst_adamw"] == 6
    assert made["sample_without_replacement"] == 2 * 4  # at the start, and after every two steps
    for (_, got), (_, want) in zip(sst_layers(model), sst_layers(other), strict=True):
        assert torch.equal(got.sampled, want.sampled)
        torch.testing.assert_close(got.weight, want.weight, rtol=1e-4, atol=1e-5)


def test_plain_parameters_take_the_step_of_torch():
    model = nn.Sequential(nn.Linear(6, 5), nn.Linear(5, 3))
    peer = copy.deepcopy(model)
    ours = SSTAdamW(model, lr=0.1, weight_decay=0.2)
    theirs = torch.optim.AdamW(peer.parameters(), lr=0.1, weight_decay=0.2, fused=True)
    for _ in range(5):
        for m, o in ((model, ours), (peer, theirs)):
            o.zero_grad()
            m(torch.ones(2, 6)).square().sum().backward()
            o.step()
    assert_equal(model, peer)


def test_parameters_without_gradient_stay():
    model = small_model()
    optimizer = SSTAdamW(model, **KEYS)
    before = bits(model)
    optimizer.step()
    assert_equal(model, type("Old", (), {"state_dict": lambda self: before})())
    model[0].S.grad = torch.ones_like(model[0].S)
    optimizer.step()
    assert torch.equal(model[0].U_sampled, before["0.U_sampled"])
    assert not torch.equal(model[0].S, before["0.S"])


def test_a_layer_frozen_as_a_whole_stays():
    model = small_model()
    model[0].requires_grad_(False)
    before = bits(model)
    train(model, SSTAdamW(model, **KEYS), 14)
    for name, value in model.state_dict().items():
        assert torch.equal(value, before[name]) == name.startswith("0."), name


def test_a_layer_frozen_later_stays_from_then_on():
    model = small_model()
    optimizer = SSTAdamW(model, **KEYS)
    train(model, optimizer, 5)
    for p in model[0].parameters():
        p.requires_grad_(False)
    optimizer.zero_grad()
    before = bits(model)
    train(model, optimizer, 14)
    for name, value in model.state_dict().items():
        assert torch.equal(value, before[name]) == name.startswith("0."), name


def test_parameters_alone_bring_their_layers():
    one, other = small_model(), small_model()
    train(one, SSTAdamW(one, **KEYS), 30)
    train(other, SSTAdamW(other.parameters(), **KEYS), 30)
    assert_equal(one, other)


def test_float16_goes_on_over_decompositions():
    model = small_model(torch.float16)
    optimizer = SSTAdamW(model, **KEYS)
    before = bits(model)
    train(model, optimizer, 30)
    for name, value in model.state_dict().items():
        assert value.isfinite().all(), name
    assert not torch.equal(model[0].Uh, before["0.Uh"])


def test_zero_step_of_distributed_checkpointing():
    """It creates state by a step with zero gradients and a rate of zero."""
    model = small_model()
    optimizer = SSTAdamW(model, **{**KEYS, "lr": 0.0, "iteration_steps": 100})
    before = bits(model)
    for p in model.parameters():
        if p.requires_grad:
            p.grad = torch.zeros_like(p)
    optimizer.step()
    for name, value in model.state_dict().items():
        torch.testing.assert_close(value, before[name], rtol=1e-6, atol=1e-7)


def test_gradients_that_are_not_finite_are_skipped_and_counted():
    model = small_model()
    optimizer = SSTAdamW(model, **KEYS)
    train(model, optimizer, 2)
    layer, before = model[0], bits(model)
    layer.U_sampled.grad[1] = float("nan")
    layer.S.grad[:] = float("inf")
    optimizer.step()
    assert torch.equal(layer.S, before["0.S"])
    assert torch.equal(layer.U_sampled[1], before["0.U_sampled"][1])
    assert float(optimizer.state[layer.S]["skipped"]) == 1
    assert float(optimizer.state[layer.U_sampled]["skipped"]) == 1
    assert all(t.isfinite().all() for t in model.state_dict().values())


def test_diverged_values_keep_pairs_and_factors():
    model = small_model()
    optimizer = SSTAdamW(model, skip_nonfinite=False, **KEYS)
    with torch.no_grad():
        model[0].S[2] = float("nan")
    before = bits(model)
    for _ in range(KEYS["iterations_per_round"]):
        optimizer.next_iteration()
    assert torch.equal(model[0].Uh, before["0.Uh"])
    assert torch.equal(model[0].sampled, before["0.sampled"])


def test_closure_schedulers_and_tensor_rate():
    model = small_model()
    optimizer = SSTAdamW(model, **{**KEYS, "lr": torch.tensor(0.01)})
    x = torch.ones(4, 20)

    def closure():
        optimizer.zero_grad()
        loss = model(x).square().sum()
        loss.backward()
        return loss

    first = optimizer.step(closure)
    scheduler = torch.optim.lr_scheduler.ExponentialLR(optimizer, 0.5)
    for _ in range(6):
        last = optimizer.step(closure)
        scheduler.step()
    assert last < first


def test_clipping_and_scaling_of_gradients():
    model = small_model()
    optimizer, scaler = SSTAdamW(model, **KEYS), torch.amp.GradScaler("cpu", init_scale=8.0)
    loss = model(torch.ones(4, 20)).square().sum()
    scaler.scale(loss).backward()
    scaler.unscale_(optimizer)
    norm = nn.utils.clip_grad_norm_(model.parameters(), 1e-3)
    assert norm > 1e-3
    scaler.step(optimizer)
    scaler.update()
    assert float(optimizer.state[model[0].S]["step"]) == 1


def test_deepcopy_goes_on_with_its_own_model():
    model = small_model()
    optimizer = SSTAdamW(model, **KEYS)
    train(model, optimizer, 6)
    other, copied = copy.deepcopy((model, optimizer))
    train(other, copied, 14, start=6)
    assert not torch.equal(other[0].S, model[0].S)
    train(model, optimizer, 14, start=6)
    assert_equal(model, other)
