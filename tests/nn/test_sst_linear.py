"""SSTLinear: the weight it stands for, its copies, models turned into it and back."""

import copy
import io
import pickle

import pytest
import torch
from torch import nn

from subkern.nn import SSTLinear, convert_to_sst, sst_layers, to_dense

SHAPES = [(5, 7, 2), (7, 5, 5), (1, 1, 1), (64, 31, 3)]


def spectral(n, m, rank, **options):
    torch.manual_seed(0)
    linear = nn.Linear(n, m, dtype=torch.float64)
    return linear, SSTLinear.from_linear(linear, rank, **options)


@pytest.mark.parametrize("mode", ["auto", "factored", "merged"])
@pytest.mark.parametrize("shape", SHAPES, ids=str)
def test_same_function_as_the_linear_layer(shape, mode):
    n, m, rank = shape
    linear, layer = spectral(n, m, rank, mode=mode)
    x = torch.randn(3, 2, n, dtype=torch.float64)
    torch.testing.assert_close(layer(x), linear(x))
    torch.testing.assert_close(layer.to_dense()(x), linear(x))
    assert layer.U_sampled.shape == (rank, m)
    assert torch.equal(layer.Vh[layer.sampled], layer.V_sampled)
    trained = {name for name, p in layer.named_parameters() if p.requires_grad}
    assert trained == {"S", "U_sampled", "V_sampled", "bias"}


def test_round_trip_in_float32():
    linear = nn.Linear(48, 96)
    dense = SSTLinear.from_linear(linear, 4).to_dense()
    scale = float(linear.weight.detach().abs().max())
    torch.testing.assert_close(dense.weight, linear.weight, rtol=0, atol=1e-5 * scale)
    assert torch.equal(dense.bias, linear.bias)
    assert dense.weight.requires_grad


def test_kept_weight_follows_every_change():
    _, layer = spectral(6, 5, 2, mode="merged")
    x = torch.randn(4, 6, dtype=torch.float64)
    first = layer.weight()
    assert layer.weight() is first
    with torch.no_grad():
        layer.S.mul_(2)
    torch.testing.assert_close(layer.weight(), 2 * first)
    torch.testing.assert_close(layer(x), layer.to_dense()(x))
    layer.load_state_dict({k: v / 2 if k == "S" else v for k, v in layer.state_dict().items()})
    torch.testing.assert_close(layer.weight(), first)
    assert layer.float().weight().dtype == torch.float32
    swapped = layer.S.data.clone()
    layer.S.data = swapped  # as Module.to does
    assert layer._kept[0] != layer._state()


def test_mode_follows_the_number_of_tokens():
    layer = SSTLinear(64, 64, 4)
    assert not layer.merges(8)
    assert layer.merges(1000)
    with torch.no_grad():
        assert not layer.merges(8)
        assert layer.merges(100)
        layer(torch.zeros(100, 64))
        assert layer.merges(8)  # the weight is there already
    assert not SSTLinear(64, 64, 4, mode="factored").merges(1000)


def test_inference_mode_before_training():
    """What inference mode keeps must serve a forward pass that autograd records."""
    _, layer = spectral(6, 5, 2, mode="merged")
    x = torch.randn(4, 6, dtype=torch.float64)
    with torch.inference_mode():
        expected = layer(x)
        made = SSTLinear(6, 5, 2, mode="merged")
        assert made(torch.ones(2, 6)).shape == (2, 5)
    y = layer(x)
    assert torch.equal(y, expected)
    y.sum().backward()
    assert layer.S.grad is not None


def test_copies_leave_the_kept_weight_behind():
    _, layer = spectral(6, 5, 2, mode="merged")
    layer.weight()
    for other in (copy.deepcopy(layer), pickle.loads(pickle.dumps(layer))):
        assert other._kept is None
        assert torch.equal(other.weight(), layer.weight())
    assert "weight" not in layer.state_dict()


def test_state_dict_survives_safe_loading():
    _, layer = spectral(6, 5, 2)
    layer.set_sampled(torch.tensor([3, 1]))
    stream = io.BytesIO()
    torch.save(layer.state_dict(), stream)
    stream.seek(0)
    other = SSTLinear(6, 5, 2, dtype=torch.float64)
    other.load_state_dict(torch.load(stream, weights_only=True))
    for name, value in layer.state_dict().items():
        assert torch.equal(other.state_dict()[name], value), name


def test_reset_draws_as_a_linear_layer_does():
    torch.manual_seed(3)
    layer = SSTLinear(6, 5, 2)
    torch.manual_seed(3)
    linear = nn.Linear(6, 5)
    torch.testing.assert_close(layer.weight(), linear.weight.detach())
    assert torch.equal(layer.bias, linear.bias)


def test_on_meta():
    layer = SSTLinear(6, 5, 2, device="meta")
    assert layer.S.is_meta
    assert layer(torch.empty(3, 6, device="meta")).shape == (3, 5)


@pytest.mark.parametrize("mode", ["factored", "merged", "auto"])
def test_compiled(mode):
    layer = SSTLinear(12, 10, 3, mode=mode)
    x = torch.randn(5, 12)
    layer(x).square().sum().backward()
    expected = [p.grad.clone() for p in layer.parameters() if p.requires_grad]
    layer.zero_grad()
    torch.compile(layer, fullgraph=True)(x).square().sum().backward()
    found = [p.grad for p in layer.parameters() if p.requires_grad]
    for got, want in zip(found, expected, strict=True):
        torch.testing.assert_close(got, want)


def model():
    torch.manual_seed(0)
    attention = nn.ModuleDict({"q": nn.Linear(12, 12, bias=False), "k": nn.Linear(12, 6)})
    return nn.ModuleDict({"attention": attention, "head": nn.Linear(12, 20)})


@pytest.mark.parametrize(
    ("filter", "names"),
    [
        (None, ["attention.q", "attention.k", "head"]),
        (["attention"], ["attention.q", "attention.k"]),
        (("q", "head"), ["attention.q", "head"]),
        (lambda name, layer: layer.out_features == 20, ["head"]),
    ],
)
def test_converted_layers(filter, names):
    converted = convert_to_sst(model(), filter, rank=3)
    assert [name for name, _ in sst_layers(converted)] == names
    assert all(layer.rank == 3 for _, layer in sst_layers(converted))
    back = to_dense(converted)
    assert not sst_layers(back)
    for (name, p), (_, q) in zip(back.named_parameters(), model().named_parameters(), strict=True):
        torch.testing.assert_close(p, q, msg=lambda m, n=name: f"{n}: {m}")


def test_ranks_of_converted_layers():
    ranks = {name: layer.rank for name, layer in sst_layers(convert_to_sst(model(), rank=0.3))}
    assert ranks == {"attention.q": 4, "attention.k": 2, "head": 4}
    ranks = {name: layer.rank for name, layer in sst_layers(convert_to_sst(model(), rank=10))}
    assert ranks == {"attention.q": 10, "attention.k": 6, "head": 10}


def test_a_linear_layer_alone():
    assert isinstance(convert_to_sst(nn.Linear(4, 3), rank=2), SSTLinear)
    assert isinstance(to_dense(SSTLinear(4, 3, 2)), nn.Linear)


def test_training_flag_dtype_and_frozen_bias_are_kept():
    linear = nn.Linear(4, 3).to(torch.bfloat16).eval()
    layer = SSTLinear.from_linear(linear, 2)
    assert not layer.training
    assert layer.S.dtype == torch.bfloat16
    assert not layer.to_dense().training
