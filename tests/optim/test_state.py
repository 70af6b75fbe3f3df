"""State: exact dtypes and values after loading, safe files, copies, bit-identical resume."""

from __future__ import annotations

import copy
import io
import pickle

import pytest
import torch

from subkern.optim import FiraAdamW, GaLoreAdamW

from .small import (
    GAP,
    METHODS,
    assert_same_state,
    assert_same_weights,
    groups,
    small_model,
    small_optimizer,
    train,
)

DTYPES = (torch.float32, torch.bfloat16)


def through_a_file(value):
    """What torch.save wrote, read back by the loader that refuses objects."""
    buffer = io.BytesIO()
    torch.save(value, buffer)
    buffer.seek(0)
    return torch.load(buffer, weights_only=True)


@pytest.mark.parametrize("cls", METHODS)
def test_state_is_created_eagerly_and_is_tensors(cls):
    model = small_model(torch.bfloat16)
    state = small_optimizer(cls, model).state_dict()["state"]
    common = {"step", "skipped", "exp_avg", "exp_avg_sq"}
    projected = common | {"basis", "calls", "refreshes", "offset"}
    projected |= {"limiter"} if cls is FiraAdamW else set()
    assert [set(s) for s in state.values()] == [common, common, projected, projected]
    dtypes = dict.fromkeys(("calls", "refreshes", "offset"), torch.int64)
    dtypes["basis"] = torch.bfloat16
    for values in state.values():
        for name, value in values.items():
            assert isinstance(value, torch.Tensor), name
            assert value.dtype == dtypes.get(name, torch.float32), name


@pytest.mark.parametrize("cls", METHODS)
@pytest.mark.parametrize("dtype", DTYPES, ids=str)
@pytest.mark.parametrize("states", ["fp32", "reference"])
@pytest.mark.parametrize("basis_dtype", [None, torch.float32])
def test_load_keeps_every_dtype_and_value(cls, dtype, states, basis_dtype):
    model, other = small_model(dtype), small_model(dtype, seed=1)
    engine = dict(states=states, basis_dtype=basis_dtype, phase="staggered")
    optimizer = small_optimizer(cls, model, **engine)
    train(model, optimizer, 6)
    loaded = small_optimizer(cls, other, **engine)
    train(other, loaded, 2)
    loaded.load_state_dict(through_a_file(optimizer.state_dict()))
    assert_same_state(optimizer, loaded)
    loaded.load_state_dict(loaded.state_dict())
    assert_same_state(optimizer, loaded)


@pytest.mark.parametrize("cls", METHODS)
@pytest.mark.parametrize("proj_type", ["std", "full"])
@pytest.mark.parametrize("phase", ["reference", "staggered"])
@pytest.mark.parametrize("stop", [0, 1, GAP - 1, GAP, GAP + 2])
def test_resume_is_bit_identical(backend, cls, proj_type, phase, stop):
    """Stopped before the first call, mid-gap, right before a refresh and after one."""
    model, resumed = small_model(), small_model(seed=5)
    engine = dict(proj_type=proj_type, phase=phase)
    optimizer = small_optimizer(cls, model, **engine)
    train(model, optimizer, stop)
    checkpoint = through_a_file({"model": model.state_dict(), "optim": optimizer.state_dict()})
    train(model, optimizer, 2 * GAP, start=stop)

    torch.manual_seed(99)
    resumed.load_state_dict(checkpoint["model"])
    other = small_optimizer(cls, resumed, lr=0.5, **engine)
    other.load_state_dict(checkpoint["optim"])
    train(resumed, other, 2 * GAP, start=stop)
    assert_same_weights(model, resumed)
    assert_same_state(optimizer, other)


@pytest.mark.parametrize("cls", METHODS)
def test_loaded_state_shares_no_memory(backend, cls):
    model, other = small_model(), small_model()
    optimizer, loaded = small_optimizer(cls, model), small_optimizer(cls, other)
    train(model, optimizer, 3)
    saved = optimizer.state_dict()
    kept = copy.deepcopy(saved)
    loaded.load_state_dict(saved)
    train(other, loaded, 5)
    for index, state in kept["state"].items():
        for name, value in state.items():
            assert torch.equal(value, saved["state"][index][name]), name
    assert saved["param_groups"] == kept["param_groups"]


@pytest.mark.parametrize("cls", METHODS)
@pytest.mark.parametrize("dtype", DTYPES, ids=str)
def test_pickle_and_deepcopy(backend, cls, dtype):
    model = small_model(dtype)
    optimizer = small_optimizer(cls, model)
    train(model, optimizer, 3)
    pairs = [
        copy.deepcopy((model, optimizer)),
        pickle.loads(pickle.dumps((model, optimizer))),
    ]
    train(model, optimizer, 4, start=3)
    for other_model, other in pairs:
        train(other_model, other, 4, start=3)
        assert_same_weights(model, other_model)
        assert_same_state(optimizer, other)


@pytest.mark.parametrize("cls", METHODS)
def test_state_dict_hooks(cls):
    """Ours work beside the user's: theirs see the dict before it and the state after it."""
    model, other = small_model(torch.bfloat16), small_model(torch.bfloat16)
    optimizer, loaded = small_optimizer(cls, model), small_optimizer(cls, other)
    train(model, optimizer, 2)
    seen = []
    optimizer.register_state_dict_pre_hook(lambda opt: seen.append("save"))
    optimizer.register_state_dict_post_hook(lambda opt, d: {**d, "note": {"epoch": 3}})

    def rename(opt, state_dict):
        assert state_dict.pop("note") == {"epoch": 3}
        return {**state_dict, "param_groups": state_dict["param_groups"]}

    def check(opt):
        seen.append({s["exp_avg"].dtype for s in opt.state.values()})

    loaded.register_load_state_dict_pre_hook(rename)
    loaded.register_load_state_dict_post_hook(check)
    for _ in range(2):
        loaded.load_state_dict(optimizer.state_dict())
    assert seen == ["save", {torch.float32}] * 2
    # Our own hooks are gone after each load.
    assert len(loaded._optimizer_load_state_dict_pre_hooks) == 1


@pytest.mark.parametrize("cls", METHODS)
def test_schedulers_resume_with_the_optimizer(backend, cls):
    def build(model):
        optimizer = small_optimizer(cls, model)
        return optimizer, torch.optim.lr_scheduler.CosineAnnealingLR(optimizer, 10)

    def run(model, optimizer, scheduler, count, start):
        for i in range(start, start + count):
            train(model, optimizer, 1, start=i)
            scheduler.step()

    model = small_model()
    optimizer, scheduler = build(model)
    run(model, optimizer, scheduler, 4, 0)
    saved = through_a_file([model.state_dict(), optimizer.state_dict(), scheduler.state_dict()])
    run(model, optimizer, scheduler, 4, 4)
    other = small_model(seed=3)
    resumed, resumed_scheduler = build(other)
    for thing, value in zip((other, resumed, resumed_scheduler), saved, strict=True):
        thing.load_state_dict(value)
    run(other, resumed, resumed_scheduler, 4, 4)
    assert_same_weights(model, other)


def test_refused_state_dicts_change_nothing():
    model = small_model()
    optimizer = small_optimizer(GaLoreAdamW, model)
    train(model, optimizer, 3)
    kept = copy.deepcopy(optimizer.state_dict())

    def broken(change):
        state_dict = copy.deepcopy(kept)
        change(state_dict)
        return state_dict

    def reshape(d):
        d["state"][2]["exp_avg"] = torch.zeros(5, 5)

    cases = [
        (
            reshape,
            r"GaLoreAdamW: state of parameter 2: exp_avg must have shape \(12, 3\)|\(3, 20\)",
        ),
        (lambda d: d["param_groups"].pop(), "different number of parameter groups"),
        (lambda d: d["param_groups"][1]["params"].pop(), "doesn't match the size"),
        (lambda d: d["param_groups"][1].update(rank=0), "rank must be at least 1"),
        (lambda d: d["param_groups"][1].update(rank=4), "parameter 2: .* must have shape"),
        (lambda d: d["param_groups"][0].update(lr=-1.0), "lr must be in"),
        (lambda d: d["param_groups"][0].update(rank=2), "must be a non-empty matrix"),
        (lambda d: d["state"][3].update(basis=torch.zeros(3)), "parameter 3: basis must have"),
    ]
    for change, message in cases:
        with pytest.raises(ValueError, match=message):
            optimizer.load_state_dict(broken(change))
        fresh = small_optimizer(GaLoreAdamW, small_model())
        fresh.load_state_dict(kept)
        assert_same_state(optimizer, fresh)


@pytest.mark.parametrize("cls", METHODS)
def test_frozen_parameters(backend, cls):
    """A frozen parameter has no state until it trains, and a checkpoint of that loads."""
    model = small_model()
    model[0].weight.requires_grad_(False)
    optimizer = cls(groups(model), lr=0.01)
    assert model[0].weight not in optimizer.state
    train(model, optimizer, 3)
    saved = copy.deepcopy(optimizer.state_dict())
    model[0].weight.requires_grad_(True)
    train(model, optimizer, 3)
    assert int(optimizer.state[model[0].weight]["step"]) == 3
    assert int(optimizer.state[model[2].weight]["step"]) == 6
    optimizer.load_state_dict(saved)
    assert int(optimizer.state[model[0].weight]["refreshes"]) == 0
    train(model, optimizer, 1)
    assert int(optimizer.state[model[0].weight]["refreshes"]) == 1
