from dataclasses import asdict

import pytest
import torch
from pretrain import UserError, data, methods, train
from pretrain import model as models

ALL = tuple(methods.METHODS)


def built(config):
    model = models.build(
        hidden=config.hidden,
        intermediate=config.intermediate,
        layers=config.layers,
        heads=config.heads,
        vocab=config.vocab,
        seq=config.seq,
        seed=config.seed,
    )
    return model, methods.make_optimizer(model, config)


@pytest.mark.parametrize(
    ("name", "millions"), [("60m", 58.1), ("130m", 134.1), ("350m", 368.0), ("1b", 1339.1)]
)
def test_paper_configurations_have_the_paper_sizes(name, millions):
    shape = asdict(models.preset(name))
    for training in ("batch", "steps", "rank", "gap"):
        del shape[training]
    with torch.device("meta"):
        model = models.build(**shape, seed=0)
    assert sum(w.numel() for w in model.parameters()) / 1e6 == pytest.approx(millions, abs=0.1)


def test_unknown_model_and_method_are_user_errors():
    with pytest.raises(UserError, match="must be one of tiny, 60m"):
        models.preset("7b")
    for names in ("adamw,sgd", "", ","):
        with pytest.raises(UserError, match="must be among adamw, galore"):
            methods.parse(names)
    assert methods.parse("fira, adamw,fira") == ["fira", "adamw"]


def test_lowrank_weights_are_those_of_attention_and_mlp(make_config):
    config = make_config(layers=2)
    model, _ = built(config)
    lowrank, plain = models.divide(model)
    assert len(lowrank) == 2 * 7
    assert all(p.ndim == 2 and config.vocab not in p.shape for p in lowrank)
    assert {id(p) for p in lowrank + plain} == {id(p) for p in model.parameters()}
    assert len(lowrank) + len(plain) == len(list(model.parameters()))


def test_all_methods_start_from_the_same_weights(make_config):
    (first, _), (second, _) = built(make_config("adamw")), built(make_config("fira"))
    for (name, p), q in zip(first.named_parameters(), second.parameters(), strict=True):
        assert torch.equal(p, q), name


@pytest.mark.parametrize(("method", "trained"), [("sst", "U_sampled"), ("lora", "A")])
def test_converted_models_start_as_the_same_function(make_config, method, trained):
    (plain, _), (model, _) = built(make_config("adamw")), built(make_config(method))
    tokens = torch.arange(24).reshape(2, 12)
    with torch.no_grad():
        before, after = (m(input_ids=tokens).logits for m in (plain, model))
    torch.testing.assert_close(after, before, rtol=1e-4, atol=1e-5)
    converted = [p for name, p in model.named_parameters() if name.endswith(f"proj.{trained}")]
    assert len(converted) == 7 * make_config(method).layers
    rank = max(1, make_config(method).hidden // 12)
    assert all(len(p) == rank and p.requires_grad for p in converted)
    frozen = [p for name, p in model.named_parameters() if name.endswith("proj.weight")]
    assert not any(p.requires_grad for p in frozen)


def stepped(config):
    model, optimizer = built(config)
    tokens, _ = data.load_tokens(config.corpus)
    for step in range(2):
        batch = data.batch_at(tokens, seed=0, step=step, batch=config.batch, seq=config.seq)
        models.loss_of(model, batch).backward()
        optimizer.step()
        optimizer.zero_grad()
    return model, optimizer


def test_state_bytes_are_counted_from_the_tensors(make_config):
    model, optimizer = stepped(make_config("adamw"))
    numbers = [p.numel() for p in model.parameters()]
    assert methods.state_bytes(optimizer) == 4 * (2 * sum(numbers) + len(numbers))


@pytest.mark.parametrize("method", [m for m in ALL if m != "adamw"])
def test_lowrank_methods_keep_less_state_than_adamw(make_config, method):
    _, optimizer = stepped(make_config(method, rank=4))
    original, _ = built(make_config("adamw"))
    dense = 8 * sum(p.numel() for p in original.parameters())
    _, plain = models.divide(original)
    assert 8 * sum(p.numel() for p in plain) < methods.state_bytes(optimizer) < dense


@pytest.mark.parametrize("method", ALL)
def test_packed_state_loads_weights_only_and_is_whole(make_config, method, tmp_path):
    config = make_config(method)
    _, optimizer = stepped(config)
    torch.save(methods.pack(optimizer), tmp_path / "state.pt")
    _, fresh = built(config)
    methods.unpack(fresh, torch.load(tmp_path / "state.pt", weights_only=True))
    assert methods.state_bytes(fresh) > 0
    for name, (a, b) in flat(methods.pack(optimizer), methods.pack(fresh)).items():
        assert torch.equal(a, b) if isinstance(a, torch.Tensor) else a == b, name


def flat(a, b, path=""):
    """Leaves of two equal nested structures, by path."""
    if isinstance(a, dict):
        assert a.keys() == b.keys(), path
        pairs = ((k, a[k], b[k]) for k in a)
    elif isinstance(a, (list, tuple)):
        assert len(a) == len(b), path
        pairs = ((i, x, y) for i, (x, y) in enumerate(zip(a, b, strict=True)))
    else:
        return {path: (a, b)}
    return {k: v for key, x, y in pairs for k, v in flat(x, y, f"{path}/{key}").items()}


def test_learning_rate_warms_up_and_ends_at_a_tenth():
    rates = [train.learning_rate(s, peak=1.0, steps=100) for s in range(100)]
    assert rates[0] == pytest.approx(0.1)
    assert max(rates) == rates[9] == rates[10] == 1.0
    assert rates[10:] == sorted(rates[10:], reverse=True)
    assert rates[-1] == pytest.approx(0.1, abs=0.01)


def test_defaults_lie_on_the_printed_grid():
    for name, method in methods.METHODS.items():
        assert method.lr in method.grid, name
        assert len(method.grid) == 4
