"""Bad input around Sparse Spectral Training: error, argument's name, nothing changed."""

import copy

import pytest
import torch
from torch import nn

import subkern
from subkern.nn import SSTLinear, convert_to_sst, to_dense
from subkern.ops import sst_adamw_
from subkern.ops.spectral_linear import spectral_linear
from subkern.optim import SSTAdamW


def step(lr=0.1, change=None, **options):
    """A good call of sst_adamw_, changed."""
    params = [torch.rand(5), torch.rand(2, 4)]
    lists = dict(params=params, grads=[torch.rand_like(p) for p in params])
    lists |= {n: [torch.zeros_like(p) for p in params] for n in ("exp_avgs", "exp_avg_sqs")}
    lists |= {n: [torch.zeros(()) for _ in params] for n in ("steps", "skipped")}
    lists |= dict(tables=[torch.rand(5, 4)], sampled=[torch.tensor([0, 3])])
    if change is not None:
        change(lists)
    sst_adamw_(**lists, lr=lr, **options)


def put(name, index, value):
    return lambda lists: lists[name].__setitem__(index, value)


STEPS = [
    ("grads-shape", dict(change=put("grads", 1, torch.rand(3, 4))), ValueError, "grads[1]"),
    ("grads-dtype", dict(change=put("grads", 0, torch.rand(5).double())), TypeError, "grads[0]"),
    ("cube", dict(change=put("params", 1, torch.rand(2, 2, 2))), ValueError, "params[1]"),
    ("integers", dict(change=put("params", 0, torch.ones(5, dtype=int))), TypeError, "params[0]"),
    ("no-table", dict(change=lambda x: x["tables"].clear()), ValueError, "tables"),
    ("short-table", dict(change=put("tables", 0, torch.rand(1, 4))), ValueError, "tables[0]"),
    ("narrow-table", dict(change=put("tables", 0, torch.rand(5, 3))), ValueError, "tables[0]"),
    ("table-dtype", dict(change=put("tables", 0, torch.rand(5, 4).half())), TypeError, "tables[0]"),
    ("int32-rows", dict(change=put("sampled", 0, torch.ones(2).int())), TypeError, "sampled[0]"),
    ("more-rows", dict(change=put("sampled", 0, torch.arange(3))), ValueError, "sampled[0]"),
    ("outside", dict(change=put("sampled", 0, torch.tensor([0, 5]))), ValueError, "sampled"),
    ("steps-int", dict(change=put("steps", 0, torch.zeros((), dtype=int))), TypeError, "steps[0]"),
    ("lr-negative", dict(lr=-1.0), ValueError, "lr"),
    ("lr-text", dict(lr="1"), TypeError, "lr"),
    ("betas", dict(betas=(0.9, 1.0)), ValueError, "betas[1]"),
    ("eps", dict(eps=-1e-8), ValueError, "eps"),
    ("value_scale", dict(value_scale=-1.0), ValueError, "value_scale"),
    ("vector_scale", dict(vector_scale=float("inf")), ValueError, "vector_scale"),
    ("warmup", dict(warmup=1.5), TypeError, "warmup"),
    ("warmup-negative", dict(warmup=-1), ValueError, "warmup"),
    ("skip", dict(skip_nonfinite=1), TypeError, "skip_nonfinite"),
    ("backend", dict(backend="gpu"), ValueError, "backend"),
]


@pytest.mark.parametrize(
    ("call", "error", "words"), [row[1:] for row in STEPS], ids=[row[0] for row in STEPS]
)
def test_step(call, error, words):
    with pytest.raises(error, match=r"^(sst_adamw: |backend)") as caught:
        step(**call)
    assert words in str(caught.value)
    assert "got" in str(caught.value)


def test_the_unchanged_call_is_good():
    step()


def overlapping(lists):
    lists["tables"][0] = torch.rand(7, 4)
    lists["params"][1] = lists["tables"][0][:2]


def test_rows_inside_their_table_are_refused():
    with pytest.raises(ValueError, match="must not share memory"):
        step(change=overlapping)


Uh, S, Vh = torch.eye(3, 4), torch.ones(3), torch.eye(3, 5)
GOOD = dict(x=torch.ones(2, 5), Uh=Uh, S=S, Vh=Vh, U_sampled=Uh[:2], V_sampled=Vh[:2])
GOOD |= dict(sampled=torch.arange(2))
LINEAR = [
    ("x", torch.ones(2, 4), ValueError),
    ("x", [1.0], TypeError),
    ("Uh", torch.ones(4), ValueError),
    ("S", torch.ones(4), ValueError),
    ("Vh", torch.ones(2, 5), ValueError),
    ("U_sampled", torch.ones(2, 5), ValueError),
    ("V_sampled", torch.ones(3, 5), ValueError),
    ("sampled", torch.ones(2), TypeError),
    ("weight", torch.ones(5, 4), ValueError),
    ("enhanced", 1, TypeError),
    ("x", torch.ones(2, 5).bfloat16(), TypeError),
    ("x", torch.ones(2, 5, dtype=torch.int64), TypeError),
    ("x", torch.ones(2, 5, device="meta"), ValueError),
    ("Vh", torch.eye(3, 5).double(), TypeError),
    ("weight", torch.ones(4, 5).double(), TypeError),
    ("sampled", torch.arange(2, device="meta"), ValueError),
]


@pytest.mark.parametrize(("name", "value", "error"), LINEAR)
def test_spectral_linear(name, value, error):
    assert spectral_linear(**GOOD).shape == (2, 4)
    with pytest.raises(error, match=f"spectral_linear: {name} must .*got"):
        spectral_linear(**{**GOOD, name: value})


FACTORS = [
    (0, torch.ones(6, 4), ValueError, "Uh"),
    (0, torch.ones(3), ValueError, "Uh"),
    (0, "U", TypeError, "Uh"),
    (1, torch.ones(2), ValueError, "S"),
    (1, torch.ones(3).double(), TypeError, "S"),
    (1, 1.0, TypeError, "S"),
    (2, torch.ones(2, 5), ValueError, "Vh"),
    (2, torch.ones(3, 5).bfloat16(), TypeError, "Vh"),
    (2, torch.ones(3, 5, device="meta"), ValueError, "Vh"),
    (2, torch.ones(3, 5, dtype=torch.int64), TypeError, "Vh"),
]


@pytest.mark.parametrize(("place", "value", "error", "name"), FACTORS)
def test_svd_factored(place, value, error, name):
    factors = [Uh, S, Vh]
    factors[place] = value
    with pytest.raises(error, match=f"svd_factored: {name} must .*got"):
        subkern.svd_factored(*factors)


def not_finite():
    linear = nn.Linear(4, 3)
    nn.init.constant_(linear.weight, float("nan"))
    return linear


LAYERS = [
    (lambda: SSTLinear(4, 3, 0), ValueError, "rank"),
    (lambda: SSTLinear(0, 3, 1), ValueError, "in_features"),
    (lambda: SSTLinear.from_linear(not_finite(), 1), ValueError, "linear"),
    (lambda: SSTLinear(4, 3, 4), ValueError, "rank"),
    (lambda: SSTLinear(4, 3, 2.0), TypeError, "rank"),
    (lambda: SSTLinear(4.0, 3, 2), TypeError, "in_features"),
    (lambda: SSTLinear(4, True, 1), TypeError, "out_features"),
    (lambda: SSTLinear.from_linear(nn.Linear(4, 3, dtype=torch.complex64), 1), TypeError, "linear"),
    (lambda: SSTLinear(4, 3, 2, mode="fast"), ValueError, "mode"),
    (lambda: SSTLinear(4, 3, 2, enhanced="no"), TypeError, "enhanced"),
    (lambda: SSTLinear.from_linear(nn.ReLU(), 2), TypeError, "linear"),
    (lambda: convert_to_sst(nn.ReLU()), ValueError, "filter"),
    (lambda: convert_to_sst([nn.Linear(2, 2)]), TypeError, "model"),
    (lambda: convert_to_sst(nn.Linear(4, 3), rank=0), ValueError, "rank"),
    (lambda: convert_to_sst(nn.Linear(4, 3), rank=1.0), ValueError, "rank"),
    (lambda: convert_to_sst(nn.Linear(4, 3), rank="2"), TypeError, "rank"),
    (lambda: convert_to_sst(nn.Linear(4, 3), "q_proj"), TypeError, "filter"),
    (lambda: to_dense("model"), TypeError, "model"),
]


@pytest.mark.parametrize(("make", "error", "name"), LAYERS)
def test_layers(make, error, name):
    with pytest.raises(error, match=rf": {name} must .*got"):
        make()


def hooked():
    linear = nn.Linear(4, 3)
    linear.register_forward_hook(lambda *_: None)
    return linear


@pytest.mark.parametrize(
    ("make", "words"),
    [
        (hooked, "no hooks"),
        (lambda: nn.utils.weight_norm(nn.Linear(4, 3)), "no hooks"),
        (lambda: nn.utils.parametrizations.orthogonal(nn.Linear(4, 3)), "no parametrization"),
    ],
)
@pytest.mark.filterwarnings("ignore:.*weight_norm:FutureWarning")
def test_what_a_conversion_would_lose_is_refused(make, words):
    net = nn.Sequential(nn.Linear(3, 4), make())
    with pytest.raises(ValueError, match=f"convert_to_sst: 1 must have {words}, got"):
        convert_to_sst(net, rank=2)
    assert type(net[0]) is nn.Linear


def test_tied_biases_are_refused():
    net = nn.Sequential(nn.Linear(4, 4), nn.Linear(4, 4))
    net[1].bias = net[0].bias
    with pytest.raises(ValueError, match=r"0 must not share its bias, got one tied to 1\.bias"):
        convert_to_sst(net, rank=2)


def test_tied_weights_are_refused_and_nothing_changes():
    model = nn.Sequential(nn.Embedding(5, 4), nn.Linear(4, 5, bias=False), nn.Linear(5, 2))
    model[1].weight = model[0].weight
    with pytest.raises(ValueError, match=r"tied to 0\.weight"):
        convert_to_sst(model, rank=2)
    assert [type(layer) for layer in model] == [nn.Embedding, nn.Linear, nn.Linear]


def model():
    return convert_to_sst(nn.Sequential(nn.Linear(4, 3)), rank=2)


OPTIMIZERS = [
    (dict(lr=-1.0), ValueError, "lr"),
    (dict(betas=(1.0, 0.9)), ValueError, "betas[0]"),
    (dict(value_scale="10"), TypeError, "value_scale"),
    (dict(vector_scale=-4.0), ValueError, "vector_scale"),
    (dict(iteration_steps=0), ValueError, "iteration_steps"),
    (dict(iterations_per_round=0), ValueError, "iterations_per_round"),
    (dict(warmup_steps=-1), ValueError, "warmup_steps"),
    (dict(uniform=1.5), ValueError, "uniform"),
    (dict(reset_values=1), TypeError, "reset_values"),
    (dict(skip_nonfinite=None), TypeError, "skip_nonfinite"),
    (dict(seed=-1), ValueError, "seed"),
    (dict(seed=2**64), ValueError, "seed"),
    (dict(layers=[nn.Linear(2, 2)]), TypeError, "layers[0]"),
    (dict(layers=nn.Linear(2, 2)), TypeError, "layers"),
    (dict(layers=[SSTLinear(3, 3, 1)]), ValueError, "layers"),
]


@pytest.mark.parametrize(("keys", "error", "name"), OPTIMIZERS)
def test_optimizer(keys, error, name):
    with pytest.raises(error) as caught:
        SSTAdamW(model(), **keys)
    assert f"{name} must" in str(caught.value)


def test_layers_must_be_whole():
    layer = model()[0]
    with pytest.raises(ValueError, match=r"params must hold S, U_sampled and .* got S of SST"):
        SSTAdamW([layer.S])
    groups = [{"params": [layer.S]}, {"params": [layer.U_sampled, layer.V_sampled]}]
    with pytest.raises(ValueError, match=r"params must hold .* in one group"):
        SSTAdamW(groups)
    layer.U_sampled.requires_grad_(False)
    with pytest.raises(ValueError, match=r"none of them frozen, got S and V_sampled of"):
        SSTAdamW([p for p in layer.parameters() if p.requires_grad])


def test_groups():
    optimizer, other = SSTAdamW(model()), model()[0]
    with pytest.raises(ValueError, match="param_group must have params, got"):
        optimizer.add_param_group({"lr": 0.1})
    with pytest.raises(ValueError, match="layers must have their parameters among params"):
        optimizer.add_param_group({"params": [nn.Parameter(torch.ones(2))], "layers": [other]})
    assert len(optimizer.param_groups) == 1


@pytest.mark.parametrize(
    ("sampled", "error"),
    [
        (torch.tensor([0, 3]), ValueError),
        (torch.tensor([1, 1]), ValueError),
        (torch.tensor([-1, 0]), ValueError),
        (torch.tensor([0.0, 1.0]), TypeError),
    ],
)
def test_pairs_of_a_state_that_a_layer_does_not_have(sampled, error):
    net = model()
    optimizer = SSTAdamW(net)
    saved, before = copy.deepcopy(optimizer.state_dict()), net[0].sampled.clone()
    saved["state"][1]["sampled"] = sampled
    with pytest.raises(error, match=r"state of parameter \d: sampled must be .*got"):
        optimizer.load_state_dict(saved)
    assert torch.equal(net[0].sampled, before)
    assert torch.equal(optimizer.state[net[0].U_sampled]["sampled"], before)


def test_state_of_another_shape_changes_nothing():
    one, other = model(), convert_to_sst(nn.Sequential(nn.Linear(6, 3)), rank=2)
    optimizer = SSTAdamW(one)
    before = {k: v.clone() for k, v in one.state_dict().items()}
    with pytest.raises(ValueError, match="must have shape"):
        optimizer.load_state_dict(SSTAdamW(other).state_dict())
    for name, value in one.state_dict().items():
        assert torch.equal(value, before[name])
