"""LorentzLinear, and the functions of subkern.nn.lorentz."""

import copy
import math
import pickle

import mpmath
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import nn

from subkern.nn import LorentzLinear, SSTLinear, convert_to_sst, lorentz, to_dense
from subkern.optim import SSTAdamW

CURVATURES = (0.01, 1.0, 7.0)
NORMS = (0.0, 1e-6, 1e-2, 1.0, 30.0, 1e3)


def points(count, d, norm, *, c=1.0, dtype=torch.float32, seed=0):
    """Points whose space parts have the given norm, and random directions."""
    generator = torch.Generator().manual_seed(seed)
    s = torch.randn(count, d, generator=generator, dtype=torch.float64)
    s = norm * s / s.norm(dim=-1, keepdim=True)
    return lorentz.project(s.to(dtype), c=c)


def off(x, c):
    """How far points are off their hyperboloid, relative to the squared time, in float64."""
    t, s = x[..., 0].double(), x[..., 1:].double()
    assert bool((t > 0).all())
    return ((-t.square() + s.square().sum(dim=-1) + 1 / c).abs() / t.square()).max().item()


def layer_of(kind, m=5, n=7, *, dtype=None, enhanced=True, **options):
    torch.manual_seed(3)
    layer = LorentzLinear(m, n, dtype=dtype, **options)
    return layer if kind == "dense" else convert_to_sst(layer, rank=2, enhanced=enhanced)


KINDS = ("dense", "spectral")


def test_forward_is_its_formula():
    layer = layer_of("dense", dtype=torch.float64, c=0.3, scale=4.0)
    x = points(6, 4, 2.0, c=0.3, dtype=torch.float64)
    z = x @ layer.linear.weight.mT + layer.linear.bias
    bound = 4.0 / (1 + torch.exp(-z[:, :1]))
    s = bound * z[:, 1:] / torch.sqrt(z[:, 1:].square().sum(dim=1, keepdim=True) + 1e-8)
    t = torch.sqrt(1 / 0.3 + s.square().sum(dim=1, keepdim=True))
    torch.testing.assert_close(layer(x), torch.cat([t, s], dim=1), rtol=1e-13, atol=1e-13)


@pytest.mark.parametrize("c", CURVATURES)
@pytest.mark.parametrize("kind", KINDS)
def test_outputs_are_on_the_hyperboloid(kind, c):
    """Whatever the norm of what comes in, and of what goes out: float32 to 1e-5 of t^2."""
    for norm in NORMS:
        for scale in (1e-3, 1.0, 1e3):
            y = layer_of(kind, 33, 65, c=c, scale=scale)(points(40, 32, norm, c=c))
            assert y.dtype == torch.float32
            assert off(y, c) <= 1e-6
            assert y[:, 1:].norm(dim=1).max() <= scale * (1 + 1e-6)


@pytest.mark.parametrize("kind", KINDS)
def test_steps_keep_outputs_on_the_hyperboloid(kind):
    first, second = layer_of(kind, scale=800.0, c=0.5), layer_of(kind, 7, 4, scale=800.0, c=0.5)
    model = nn.Sequential(first, second)
    if kind == "spectral":
        optimizer = SSTAdamW(model, lr=0.01, iteration_steps=5)
    else:
        optimizer = torch.optim.AdamW(model.parameters(), lr=0.1)
    x, target = points(40, 4, 1e3, c=0.5), points(40, 3, 900.0, c=0.5, seed=1)
    losses = []
    for _ in range(20):
        losses.append(lorentz.distance(model(x), target, c=0.5).mean())
        losses[-1].backward()
        optimizer.step()
        optimizer.zero_grad()
        assert off(first(x), 0.5) <= 1e-6
        assert off(model(x), 0.5) <= 1e-6
    assert losses[-1] < 0.9 * losses[0]


@pytest.mark.parametrize("kind", KINDS)
def test_gradcheck(kind):
    """With respect to points and to the trained parameters that values depend on."""
    layer = layer_of(kind, 4, 3, dtype=torch.float64, c=2.0, enhanced=False)
    names = [n for n, p in layer.named_parameters() if p.requires_grad and "_sampled" not in n]
    assert len(names) == 3
    values = [layer.get_parameter(name).detach().clone().requires_grad_() for name in names]

    def call(x, *values):
        return torch.func.functional_call(layer, dict(zip(names, values, strict=True)), (x,))

    for batch in ((2,), (0,), (1, 3)):
        x = torch.randn(*batch, 4, dtype=torch.float64, requires_grad=True)
        assert torch.autograd.gradcheck(call, (x, *values))


def test_a_space_part_of_zero_has_gradients():
    layer = LorentzLinear(3, 4)
    nn.init.zeros_(layer.linear.weight)
    nn.init.zeros_(layer.linear.bias)
    y = layer(points(2, 2, 1.0))
    assert y.tolist() == [[1.0, 0.0, 0.0, 0.0]] * 2
    y[:, 1:].sum().backward()
    assert bool(layer.linear.bias.grad.isfinite().all())
    assert layer.linear.bias.grad[1:].min() > 0


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16], ids=["bf16", "fp16"])
def test_narrow_dtypes(kind, dtype):
    """Time belongs to the space part as stored: off by the two roundings of t^2, no more."""
    layer = layer_of(kind, 9, 17, scale=100.0)
    x = points(30, 8, 50.0)
    exact = layer(x)
    narrow = layer.to(dtype)(x.to(dtype))
    assert narrow.dtype == dtype
    assert off(narrow, 1.0) <= 1.01 * torch.finfo(dtype).eps
    error = (narrow.double() - exact.double()).norm(dim=1) / exact.double().norm(dim=1)
    assert error.max() < 40 * torch.finfo(dtype).eps


@pytest.mark.parametrize("kind", KINDS)
def test_autocast_narrows_the_product_alone(kind):
    layer, x = layer_of(kind, 9, 17, scale=100.0), points(30, 8, 5.0)
    exact = layer(x)
    with torch.autocast("cpu", dtype=torch.bfloat16):
        y = layer(x)
        far = lorentz.distance(y, y.flip(0))
    assert y.dtype == far.dtype == torch.float32
    assert off(y, 1.0) <= 1e-6
    error = ((y - exact).norm(dim=1) / exact.norm(dim=1)).max()
    assert 1e-4 < error < 10 * torch.finfo(torch.bfloat16).eps
    far.sum().backward()
    assert all(bool(p.grad.isfinite().all()) for p in layer.parameters() if p.requires_grad)


def test_conversion_of_a_model_there_and_back():
    model = nn.Sequential(LorentzLinear(6, 9, scale=3.0), LorentzLinear(9, 4, bias=False))
    x = points(5, 5, 1.0)
    before, names = model(x), list(model.state_dict())
    assert convert_to_sst(model, rank=2) is model
    assert [type(layer.linear) for layer in model] == [SSTLinear, SSTLinear]
    torch.testing.assert_close(model(x), before)
    trained = [n for n, p in model.named_parameters() if p.requires_grad]
    assert "0.log_scale" in trained
    assert "1.linear.U_sampled" in trained
    to_dense(model)
    assert list(model.state_dict()) == names
    torch.testing.assert_close(model(x), before)


@pytest.mark.parametrize("kind", KINDS)
def test_copies_are_equal(kind):
    layer, x = layer_of(kind), points(3, 4, 1.0)
    other = layer_of(kind)
    nn.init.zeros_(other.log_scale)
    other.load_state_dict(layer.state_dict())
    for twin in (other, copy.deepcopy(layer), pickle.loads(pickle.dumps(layer))):
        assert torch.equal(twin(x), layer(x))
    assert layer.extra_repr() == "5, 7, c=1.0"


@pytest.mark.parametrize("kind", KINDS)
def test_compiles_to_one_graph(kind):
    layer, x = layer_of(kind), points(3, 4, 1.0)

    def call(x):
        return lorentz.distance(layer(x), layer(x).flip(0))

    compiled = torch.compile(call, fullgraph=True, backend="eager")
    torch.testing.assert_close(compiled(x), call(x))


def test_meta():
    layer = LorentzLinear(5, 7, device="meta")
    assert layer(torch.empty(2, 5, device="meta")).shape == (2, 7)


def truth(x, y, c):
    """Distances from the space parts as stored, by the plain formula in eighty digits."""
    found = []
    with mpmath.workdps(80):
        for sx, sy in zip(x[:, 1:].tolist(), y[:, 1:].tolist(), strict=True):
            sx, sy = (mpmath.matrix(s) for s in (sx, sy))
            inner = [sum(a * b for a, b in zip(u, v, strict=True)) for u, v in
                     ((sx, sx), (sy, sy), (sx, sy))]  # fmt: skip
            times = [mpmath.sqrt(1 / mpmath.mpf(c) + one) for one in inner[:2]]
            cosh = mpmath.mpf(c) * (times[0] * times[1] - inner[2])
            found.append(float(mpmath.acosh(max(cosh, 1)) / mpmath.sqrt(c)))
    return torch.tensor(found, dtype=torch.float64)


@pytest.mark.parametrize("c", CURVATURES)
@pytest.mark.parametrize("apart", [1e-6, 1e-3, 1.0, None], ids=str)
@pytest.mark.parametrize("norm", NORMS)
def test_distance_is_exact(norm, apart, c):
    """Close points and far ones, at the apex and far out, along a ray and across."""
    x = points(20, 3, norm, c=c)
    s = points(20, 3, norm, seed=1)[:, 1:].flip(0) if apart is None else x[:, 1:].clone()
    if apart is not None:
        s[:10] *= 1 + apart  # the same ray
        s[10:] += apart * torch.randn(10, 3, generator=torch.Generator().manual_seed(2))
    y = lorentz.project(s, c=c)
    exact = truth(x, y, c)
    got = lorentz.distance(x, y, c=c)
    assert got.dtype == torch.float32
    torch.testing.assert_close(got.double(), exact, rtol=2e-7, atol=1e-30)
    assert torch.equal(got, lorentz.distance(y, x, c=c))


def test_distance_between_equal_points_is_zero_with_no_gradient():
    x = points(4, 3, 100.0).requires_grad_()
    gap = lorentz.distance(x, x.detach())
    assert gap.tolist() == [0.0] * 4
    gap.sum().backward()
    assert not x.grad.any()


@pytest.mark.parametrize("norm", [0.0, 1.0, 20.0])
def test_distance_gradcheck(norm):
    def call(u, v):
        return lorentz.distance(lorentz.project(u, c=0.5), lorentz.project(v, c=0.5), c=0.5)

    u = points(3, 2, norm, dtype=torch.float64)[:, 1:].clone().requires_grad_()
    v = torch.randn(3, 2, dtype=torch.float64, requires_grad=True)
    assert torch.autograd.gradcheck(call, (u, v))
    call(u, v).sum().backward()
    assert u.grad.norm(dim=1).min() > 0  # at the apex as well


def test_distance_broadcasts():
    x, y = points(4, 3, 1.0), points(6, 3, 2.0, dtype=torch.float64)
    table = lorentz.distance(x[:, None], y)
    assert table.shape == (4, 6)
    assert table.dtype == torch.float64
    assert torch.equal(table[2, 5], lorentz.distance(x[2], y[5]))


@given(
    c=st.sampled_from(CURVATURES),
    norms=st.tuples(*[st.floats(0, 50)] * 3),
    seed=st.integers(0, 99),
    d=st.integers(1, 5),
)
def test_distance_is_a_metric_that_isometries_keep(c, norms, seed, d):
    x, y, z = (
        points(2, d, norm, c=c, dtype=torch.float64, seed=seed + i) for i, norm in enumerate(norms)
    )

    def gap(a, b):
        return lorentz.distance(a, b, c=c)

    assert bool((gap(x, z) <= gap(x, y) + gap(y, z) + 1e-7).all())
    # A boost along the first space axis maps the hyperboloid onto itself.
    ch, sh = math.cosh(0.7), math.sinh(0.7)
    boost = torch.eye(d + 1, dtype=torch.float64)
    boost[:2, :2] = torch.tensor([[ch, sh], [sh, ch]])
    torch.testing.assert_close(gap(x @ boost, y @ boost), gap(x, y), rtol=1e-7, atol=1e-7)
    origin = torch.zeros_like(x)
    radius = torch.asinh(math.sqrt(c) * x[:, 1:].norm(dim=1)) / math.sqrt(c)
    torch.testing.assert_close(gap(x, origin), radius, rtol=1e-9, atol=1e-12)
