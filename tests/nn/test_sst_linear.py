"""SSTLinear: the weight it stands for, its copies, what is refused."""

import copy
import io
import pickle

import pytest
import torch
from torch import nn

from subkern.nn import SSTLinear
from subkern.optim import SSTAdamW

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
    first = layer.weight
    assert layer.weight is first
    with torch.no_grad():
        layer.S.mul_(2)
    torch.testing.assert_close(layer.weight, 2 * first)
    torch.testing.assert_close(layer(x), layer.to_dense()(x))
    layer.load_state_dict({k: v / 2 if k == "S" else v for k, v in layer.state_dict().items()})
    torch.testing.assert_close(layer.weight, first)
    assert layer.float().weight.dtype == torch.float32
    swapped = layer.S.data.clone()
    layer.S.data = swapped  # as Module.to does
    assert not layer._keeps_weight()


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
    assert layer.weight.shape == (5, 6)
    for other in (copy.deepcopy(layer), pickle.loads(pickle.dumps(layer))):
        assert other._kept is None
        assert torch.equal(other.weight, layer.weight)
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
    torch.testing.assert_close(layer.weight, linear.weight.detach())
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


@pytest.mark.parametrize("frozen", [(), ("bias",), ("weight",), ("weight", "bias")])
def test_training_flag_dtype_and_what_is_frozen_are_kept(frozen):
    linear = nn.Linear(4, 3).to(torch.bfloat16).eval()
    for name in frozen:
        getattr(linear, name).requires_grad_(False)
    layer = SSTLinear.from_linear(linear, 2)
    back = layer.to_dense()
    assert not layer.training
    assert not back.training
    assert layer.S.dtype == back.weight.dtype == torch.bfloat16
    assert {p.requires_grad for p in layer.trained()} == {"weight" not in frozen}
    assert not layer.Uh.requires_grad
    for one in (layer, back):
        assert one.bias.requires_grad == ("bias" not in frozen)
    assert back.weight.requires_grad == ("weight" not in frozen)


@pytest.mark.parametrize("mode", ["auto", "factored", "merged"])
def test_functional_calls_see_their_own_factors(mode):
    """Replacements come and go at the same addresses, with the same version."""
    layer = SSTLinear(64, 64, 4, bias=False, mode=mode)
    x, own = torch.randn(512, 64), {n: p.detach() for n, p in layer.named_parameters()}
    with torch.no_grad():
        want = layer(x)
        for factor in (1.0, 2.0, 3.0, 4.0):
            got = torch.func.functional_call(layer, {**own, "S": factor * own["S"]}, (x,))
            torch.testing.assert_close(got, factor * want, rtol=1e-4, atol=1e-4)
        torch.testing.assert_close(layer(x), want)


def test_copies_that_another_optimizer_moves_are_refused():
    layer = SSTLinear(6, 5, 2)
    wrong = torch.optim.SGD([p for p in layer.parameters() if p.requires_grad], lr=0.1)
    right = SSTAdamW(layer, lr=0.1, iteration_steps=2)
    for _ in range(5):
        layer(torch.randn(3, 6)).square().sum().backward()
        right.step()
    layer(torch.randn(3, 6))
    wrong.step()
    for _ in range(2):  # it does not get used to it
        with pytest.raises(RuntimeError, match="U_sampled and V_sampled must move with Uh and Vh"):
            layer(torch.randn(3, 6))
    layer.set_sampled(layer.sampled)
    layer(torch.randn(3, 6))


def test_the_kept_weight_is_not_to_be_written():
    layer = SSTLinear(6, 5, 2)
    first = layer.weight.clone()
    with torch.no_grad():
        layer.weight.mul_(2)
    assert torch.equal(layer.weight, first)


@pytest.mark.parametrize("mode", ["auto", "merged"])
def test_compiled_and_exported_with_a_kept_weight(mode):
    layer, x = SSTLinear(12, 12, 3, mode=mode), torch.randn(50, 12)
    with torch.no_grad():
        want = layer(x)
        assert layer._kept is not None
        torch.testing.assert_close(torch.compile(layer, fullgraph=True)(x), want)
        torch.testing.assert_close(torch.export.export(layer, (x,)).module()(x), want)


def test_compiled_training_over_draws_and_decompositions():
    def trained(compiled):
        torch.manual_seed(0)
        net = nn.Sequential(SSTLinear(8, 12, 3), nn.Tanh(), SSTLinear(12, 4, 2))
        call = torch.compile(net, backend="aot_eager", fullgraph=True) if compiled else net
        optimizer = SSTAdamW(net, lr=1e-2, iteration_steps=2, iterations_per_round=2)
        generator = torch.Generator().manual_seed(1)
        for _ in range(9):
            x = torch.randn(16, 8, generator=generator)
            (call(x) - x[:, :4]).square().mean().backward()
            optimizer.step()
            optimizer.zero_grad()
        return net.state_dict()

    want = trained(False)
    for name, value in trained(True).items():
        torch.testing.assert_close(value, want[name], msg=lambda m, n=name: f"{n}: {m}")


@pytest.mark.parametrize("mode", ["factored", "merged"])
def test_gradients_of_gradients_are_refused(mode):
    layer, x = SSTLinear(6, 5, 2, mode=mode), torch.randn(3, 6, requires_grad=True)
    (dx,) = torch.autograd.grad(layer(x).square().sum(), x, create_graph=True)
    with pytest.raises(RuntimeError, match="once_differentiable"):
        dx.square().sum().backward()
