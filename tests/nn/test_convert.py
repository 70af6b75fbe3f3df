"""Models turned into SSTLinear and back."""

import pytest
import torch
from torch import nn

from subkern.nn import SSTLinear, convert_to_sst, sst_layers, to_dense


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


class Doubled(nn.Linear):
    """A linear layer with a forward pass of its own."""

    def forward(self, x):
        return 2 * super().forward(x)


def test_layers_that_are_more_than_their_weight_stay():
    net = nn.Sequential(nn.Linear(4, 4), Doubled(4, 4))
    net.attention = nn.MultiheadAttention(4, 2)
    convert_to_sst(net, rank=2)
    assert [name for name, _ in sst_layers(net)] == ["0"]


@pytest.mark.parametrize("training", [True, False])
def test_transformer_layers_that_read_weights_themselves(training):
    torch.manual_seed(0)
    net = nn.TransformerEncoderLayer(8, 2, 16, dropout=0.0, batch_first=True).train(training)
    x = torch.randn(2, 3, 8)
    with torch.set_grad_enabled(training):
        want = net(x)
        convert_to_sst(net, rank=2)
        assert [name for name, _ in sst_layers(net)] == ["linear1", "linear2"]
        torch.testing.assert_close(net(x), want, rtol=1e-4, atol=1e-5)


def test_a_layer_of_two_names_stays_one():
    layer = SSTLinear(4, 4, 2)
    back = to_dense(nn.ModuleDict({"a": layer, "b": layer}))
    assert type(back["a"]) is nn.Linear
    assert back["a"] is back["b"]
