"""The sampler's arguments, layouts, weights and noise, on denoisers that are formulas."""

import math

import numpy as np
import pytest
import torch
from torch._subclasses.fake_tensor import FakeTensorMode

from subkern.imaging import CartesianSense, Dense, FourierMask, calibrate, dds, masks, schedules
from subkern.imaging.phantom import birdcage_maps, phantom
from subkern.ops._channels import to_channels, to_complex

N, COILS, SIGMA = 16, 4, 0.02
PLAN = schedules.vp()


def seeded(seed: int = 0) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


@pytest.fixture(scope="module")
def sense():
    mask = masks.uniform1d(N, 2, generator=seeded()).mask
    return CartesianSense(birdcage_maps(COILS, N), mask)


@pytest.fixture(scope="module")
def data(sense):
    truth = phantom(N, generator=seeded(1))
    noise = SIGMA * torch.randn(1, COILS, N, N, dtype=torch.complex64, generator=seeded(2))
    return (sense.matvec(truth) + sense.mask * noise).expand(3, -1, -1, -1)


def shrink(x, t):
    """An x0 that depends on image and time, element by element: any layout will do."""
    level = PLAN.noise.float()[t].view(-1, *[1] * (x.dim() - 1))
    return x / (1 + 4 * level**2)


def as_noise(x, t):
    shape = (-1, *[1] * (x.dim() - 1))
    scale, noise = (a.float()[t].view(shape) for a in (PLAN.scale, PLAN.noise))
    return (x - scale * shrink(x, t)) / noise


def as_score(x, t):
    return -as_noise(x, t) / PLAN.noise.float()[t].view(-1, *[1] * (x.dim() - 1))


def close(a, b, atol=2e-5):
    return torch.allclose(a, b, rtol=0, atol=atol)


def test_layouts_give_the_same_images(sense, data):
    options = dict(steps=6, gamma=10.0, prediction="x0")
    x = dds(shrink, sense, data, generator=seeded(), **options)
    assert x.shape == (3, N, N)
    assert x.dtype == torch.complex64
    channels = dds(shrink, sense, data, generator=seeded(), layout="channels", **options)
    assert channels.shape == (3, 2, N, N)
    assert close(channels, to_channels(x))  # torch divides complex numbers in another way


def test_the_denoiser_sees_the_layout_asked_for(sense, data):
    seen = []

    def look(x, t):
        seen.append((tuple(x.shape), x.dtype, tuple(t.shape), t.dtype))
        return shrink(x, t)

    dds(look, sense, data, steps=2, gamma=1.0, prediction="x0", layout="channels")
    assert seen == [((3, 2, N, N), torch.float32, (3,), torch.int64)] * 2


@pytest.mark.parametrize("memory", [torch.contiguous_format, torch.channels_last])
def test_a_start_in_two_channels_comes_back_in_two_channels(sense, data, memory):
    start = torch.randn(3, 2, N, N, generator=seeded(4)).contiguous(memory_format=memory)
    options = dict(steps=5, gamma=10.0, eta=0.0, prediction="x0")
    kept = start.clone()
    x = dds(shrink, sense, data, start=start, **options)
    assert x.shape == start.shape
    assert torch.equal(start, kept)
    assert close(to_complex(x), dds(shrink, sense, data, start=to_complex(start), **options))


def test_channels_last_images_are_read_in_place():
    x = torch.randn(2, 2, 4, 6).contiguous(memory_format=torch.channels_last)
    assert to_complex(x).data_ptr() == x.data_ptr()
    plain = x.contiguous()
    assert torch.equal(to_complex(plain), torch.complex(plain[:, 0], plain[:, 1]))
    z = to_complex(plain)
    assert to_channels(z).data_ptr() == z.data_ptr()
    assert torch.equal(to_channels(z.conj())[:, 1], -plain[:, 1])


def test_operators_on_real_images_need_no_layout():
    A = Dense(torch.randn(3, 5, generator=seeded()))
    y = torch.randn(2, 3, generator=seeded(1))
    x = dds(shrink, A, y, steps=3, gamma=100.0, M=5, prediction="x0", generator=seeded())
    assert x.shape == (2, 5)
    assert x.dtype == torch.float32
    with pytest.raises(ValueError, match="layout must be None"):
        dds(shrink, A, y, gamma=1.0, layout="channels")


@pytest.mark.parametrize("kind", ["noise", "score"])
def test_predictions_are_one_denoiser_in_three_forms(sense, data, kind):
    other = {"noise": as_noise, "score": as_score}[kind]
    options = dict(steps=6, gamma=10.0)
    x = dds(shrink, sense, data, prediction="x0", generator=seeded(), **options)
    again = dds(other, sense, data, prediction=kind, generator=seeded(), **options)
    # x0 from the noise divides its rounding by the scale, 1 / 0.006 at the first step.
    assert close(x, again, atol=1e-3)


@pytest.mark.parametrize("plan", [schedules.vp(), schedules.ve(sigma_max=50.0)])
@pytest.mark.parametrize("rule", ["paper", "released"])
@pytest.mark.parametrize("eta", [0.0, 0.5, 1.0])
def test_the_noise_has_the_level_and_the_memory_of_its_rule(plan, rule, eta):
    """A denoiser of zeros and a mask of zeros leave the noise alone."""
    A = FourierMask(torch.zeros(1, 64, 64))
    y = torch.zeros(1, 64, 64, dtype=torch.complex64)
    seen = []
    dds(
        lambda x, t: 0 * x,
        A,
        y,
        steps=[600, 500],
        gamma=1.0,
        eta=eta,
        schedule=plan,
        prediction="x0",
        noise_rule=rule,
        generator=seeded(),
        callback=seen.append,
    )
    assert [step.t for step in seen] == [600, 500, 0]
    first, second = seen[0].x_t, seen[1].x_t
    n, after = float(plan.noise[600]), float(plan.noise[500])
    s, then = float(plan.scale[600]), float(plan.scale[500])
    b = after if rule == "released" else after * math.sqrt(1 - (s * after / (then * n)) ** 2)
    kept = math.sqrt(after**2 - (eta * b) ** 2)
    count = first.numel()
    # Relative to the level in each channel; sums of `count` products scatter by 1 / sqrt(count).
    assert float(second.abs().square().mean()) / (2 * after**2) == pytest.approx(1, abs=0.06)
    overlap = complex((first.conj() * second).mean()) / (2 * n)
    assert abs(overlap - kept) / after < 5 / math.sqrt(count)


def test_released_compatibility_is_the_released_noise_rule(sense, data):
    options = dict(steps=6, gamma=5.0, prediction="x0", eta=0.85)
    x = dds(shrink, sense, data, compatibility="released", generator=seeded(), **options)
    same = dds(shrink, sense, data, noise_rule="released", generator=seeded(), **options)
    other = dds(shrink, sense, data, generator=seeded(), **options)
    assert torch.equal(x, same)
    assert not close(x, other)


def test_without_eta_nothing_is_drawn(sense, data):
    start = torch.randn(3, N, N, dtype=torch.complex64, generator=seeded(4))
    options = dict(steps=5, gamma=10.0, eta=0.0, prediction="x0", start=start)
    state = torch.get_rng_state()
    x = dds(shrink, sense, data, **options)
    assert torch.equal(torch.get_rng_state(), state)
    alone = dds(shrink, sense, data[:1], **{**options, "start": start[:1]})
    assert torch.equal(x[:1], alone)


def test_a_seed_draws_the_same_images_and_another_seed_others(sense, data):
    draw = lambda seed: dds(  # noqa: E731
        shrink, sense, data, steps=3, gamma=1.0, prediction="x0", generator=seeded(seed)
    )
    x = draw(1)
    assert torch.equal(x, draw(1))
    assert not close(x, draw(2))
    assert not close(x[0], x[1])


@pytest.mark.parametrize(
    ("steps", "times"),
    [(3, [999, 500, 0]), ([900, 10], [900, 10, 0]), ([7, 0], [7, 0]), ((4,), [4, 0])],
)
def test_the_last_time_is_always_zero(sense, data, steps, times):
    seen = []
    last = dds(shrink, sense, data, steps=steps, gamma=1.0, prediction="x0", callback=seen.append)
    assert [step.t for step in seen] == times
    assert [step.number for step in seen] == list(range(len(times)))
    assert torch.equal(seen[-1].x0, last)


def test_the_noiseless_form_meets_the_data(sense, data):
    clean = sense.matvec(phantom(N, generator=seeded(1)))
    x = dds(shrink, sense, clean, steps=3, gamma=None, M=40, prediction="x0", generator=seeded())
    # Forty steps on a matrix that is nearly singular: the rest falls off slowly.
    assert float((sense.matvec(x) - clean).norm() / clean.norm()) < 1e-2


def test_a_weight_may_be_each_samples_own(sense, data):
    weights = torch.tensor([1.0, 10.0, 100.0])
    start = torch.randn(3, N, N, dtype=torch.complex64, generator=seeded(4))
    options = dict(steps=3, eta=0.0, prediction="x0")
    x = dds(shrink, sense, data, gamma=weights, start=start, **options)
    for i, gamma in enumerate(weights.tolist()):
        one = slice(i, i + 1)
        alone = dds(shrink, sense, data[one], gamma=gamma, start=start[one], **options)
        assert torch.equal(x[one], alone)


@pytest.mark.parametrize("gamma", ["auto", "matched"])
def test_matched_weights_are_variance_over_noise_within_bounds(sense, data, gamma):
    sigma = torch.tensor([0.01, 0.1, 10.0])
    variance = 0.05 * PLAN.noise.square() + 1e-4
    for given in (variance, variance.tolist(), lambda t: float(variance[t])):
        seen = []
        dds(
            shrink,
            sense,
            data,
            steps=[800, 100],
            gamma=gamma,
            sigma=sigma,
            variance=given,
            prediction="x0",
            callback=seen.append,
        )
        for step in seen:
            expected = (float(variance[step.t]) / sigma**2).clamp(1, 400)
            assert torch.allclose(step.gamma, expected, rtol=1e-6)
    assert float(variance[800]) / 0.01**2 > 400
    assert float(variance[800]) / 10**2 < 1


def test_discrepancy_leaves_as_much_residual_as_there_is_noise(sense, data):
    seen = []
    sigma = torch.tensor([SIGMA, 2 * SIGMA, 4 * SIGMA])
    dds(
        shrink,
        sense,
        data,
        steps=[300, 100],
        gamma="discrepancy",
        sigma=sigma,
        M=12,
        prediction="x0",
        generator=seeded(),
        callback=seen.append,
    )
    count = float((data[0] != 0).sum())
    assert count == float(sense.mask.sum()) * COILS
    for step in seen[:-1]:
        left = (sense.matvec(step.x0) - data).flatten(1).norm(dim=1)
        assert torch.allclose(left, sigma * math.sqrt(count), rtol=1e-3)
        assert step.gamma[0] > step.gamma[1] > step.gamma[2]


def test_nothing_is_read_by_the_host(sense, data):
    """Fake tensors have no values: a read raises."""
    options = dict(steps=4, schedule=PLAN, prediction="x0", layout="channels", M=3)
    cases = (
        dict(gamma=5.0),
        dict(gamma=None),
        dict(gamma="matched", sigma=torch.full((3,), SIGMA), variance=lambda t: 1 + t),
        dict(gamma="discrepancy", sigma=SIGMA),
        dict(gamma=5.0, coupling="row"),
    )
    for case in cases:
        with FakeTensorMode(allow_non_fake_inputs=True) as mode:
            y = mode.from_tensor(data.contiguous())
            x = dds(lambda v, t: v * 0.5, sense, y, **options, **case)
        assert x.shape == (3, 2, N, N)


def test_arrays_in_arrays_out(sense, data):
    options = dict(steps=3, gamma=5.0, prediction="x0")
    x = dds(shrink, sense, data.numpy(), generator=seeded(), **options)
    assert isinstance(x, np.ndarray)
    expected = dds(shrink, sense, data, generator=seeded(), **options)
    assert np.array_equal(x, expected.numpy())


def test_double_precision_stays_double(sense, data):
    wide = CartesianSense(sense.maps.to(torch.complex128), sense.mask)
    x = dds(shrink, wide, data.to(torch.complex128), steps=3, gamma=5.0, prediction="x0")
    assert x.dtype == torch.complex128


def test_schedules():
    plan = schedules.ve(timesteps=5, sigma_min=0.01, sigma_max=100.0)
    assert torch.allclose(plan.noise, torch.tensor([1e-2, 1e-1, 1, 1e1, 1e2]).double())
    assert torch.equal(plan.scale, torch.ones(5).double())
    a = torch.tensor([0.9, 0.5, 0.1])
    plan = schedules.vp(a)
    assert torch.allclose(plan.scale.square() + plan.noise.square(), torch.ones(3).double())
    assert torch.allclose(plan.scale.square(), a.double())
    beta = np.linspace(1e-4, 0.02, 1000)
    assert float(PLAN.scale[-1] ** 2) == pytest.approx(np.prod(1 - beta), rel=1e-12)


@pytest.mark.parametrize(
    ("change", "error", "words"),
    [
        (dict(denoiser=3), TypeError, "denoiser must be callable"),
        (dict(denoiser=lambda x, t: x[:1]), TypeError, "denoiser must return"),
        (dict(denoiser=lambda x, t: x.real), TypeError, "denoiser must return"),
        (dict(denoiser=lambda x, t: None), TypeError, "denoiser must return"),
        (dict(op=lambda v: v), TypeError, "op must be a LinearOperator"),
        (dict(y=3.0), TypeError, "y must be a tensor"),
        (dict(steps=1), ValueError, "steps must be in"),
        (dict(steps=2000), ValueError, "steps must be in"),
        (dict(steps=[3, 3]), ValueError, "steps must fall"),
        (dict(steps=[3.0]), TypeError, "steps must hold ints"),
        (dict(steps=[1000, 3]), ValueError, "steps must be in"),
        (dict(steps="50"), TypeError, "steps must be an int or a list"),
        (dict(gamma="auto"), ValueError, "gamma or sigma must be given"),
        (dict(gamma="matched"), ValueError, "sigma must be given"),
        (dict(gamma="matched", sigma=1.0), ValueError, "variance must be given"),
        (dict(gamma="matched", sigma=1.0, variance=[1.0]), ValueError, "variance must have shape"),
        (dict(gamma="matched", sigma=1.0, variance=lambda t: -1.0), ValueError, "variance must be"),
        (dict(gamma="best", sigma=1.0), ValueError, "gamma must be"),
        (dict(gamma=-1.0), ValueError, "gamma must be in"),
        (dict(gamma="matched", sigma=0.0), ValueError, "sigma must be positive"),
        (dict(gamma="matched", sigma=torch.ones(2)), ValueError, "sigma must be a number or have"),
        (dict(gamma="discrepancy", sigma=1.0, coupling="all"), ValueError, "coupling must be"),
        (dict(M=0), ValueError, "M must be in"),
        (dict(eta=1.5), ValueError, "eta must be in"),
        (dict(schedule="cosine"), ValueError, "schedule must be"),
        (dict(schedule=torch.tensor([0.1, 0.9])), ValueError, "noise that grows"),
        (dict(schedule=torch.tensor([0.9, 0.0])), ValueError, "positive, finite"),
        (dict(prediction="v"), ValueError, "prediction must be"),
        (dict(noise_rule="mine"), ValueError, "noise_rule must be"),
        (dict(noise_rule="paper", compatibility="released"), ValueError, "noise_rule must be"),
        (dict(compatibility="paper"), ValueError, "compatibility must be"),
        (dict(coupling="pixel"), ValueError, "coupling must be"),
        (dict(layout="real"), ValueError, "layout must be"),
        (dict(start=torch.zeros(3, N, N)), ValueError, "start must have shape"),
        (dict(start=torch.zeros(3, N, N).double() + 0j), TypeError, "start must be"),
        (dict(start=torch.zeros(3, 2, N, N + 1)), ValueError, "start must have shape"),
        (
            dict(start=torch.zeros(3, 2, N, N), layout="complex"),
            ValueError,
            "layout must be 'channels'",
        ),
        (dict(generator=0), TypeError, "generator must be a torch.Generator"),
        (dict(callback=3), TypeError, "callback must be callable"),
        (dict(backend="fast"), ValueError, "backend must be"),
    ],
)
def test_what_cannot_be_sampled_is_refused(sense, data, change, error, words):
    call = dict(denoiser=shrink, op=sense, y=data, steps=2, gamma=1.0, prediction="x0")
    call.update(change)
    with pytest.raises(error, match=words):
        dds(call.pop("denoiser"), call.pop("op"), call.pop("y"), **call)


def test_what_cannot_be_calibrated_is_refused():
    with pytest.raises(ValueError, match="images must not be empty"):
        calibrate(shrink, torch.zeros(0, 4, 4))
    with pytest.raises(ValueError, match="times must be in"):
        calibrate(shrink, torch.zeros(1, 4, 4), times=1)
