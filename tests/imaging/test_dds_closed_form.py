"""The sampler where everything is known: a Gaussian prior, whose best denoiser is a filter."""

import math
import sys
from pathlib import Path

import pytest
import torch

from subkern.imaging import calibrate

sys.path.insert(0, str(Path(__file__).resolve().parents[2] / "examples"))

import dds_closed_form as example


@pytest.fixture(scope="module")
def problem():
    return example.problem()


@pytest.fixture(scope="module")
def posterior(problem):
    return problem.posterior()


@pytest.fixture(autouse=True)
def one_thread():
    torch.set_num_threads(1)  # images of 24 x 24: threads cost more than they bring


def dense_recursion(p, gammas, times, eta, samples, generator):
    """The sampler again in complex128: dense matrices, exact solves, the formulas as published."""
    n = len(p.spectrum)
    N, Aty = p.normal_matrix(), p.back_projection()
    a = p.schedule.scale.square()

    def draw():
        return torch.randn(samples, n, n, 2, generator=generator).double()

    x = torch.view_as_complex(draw()) * (1 - a[times[0]]).sqrt()
    for i, (t, gamma) in enumerate(zip(times, gammas, strict=True)):
        now = a[t]
        gain = now.sqrt() * p.spectrum / (now * p.spectrum + 2 * (1 - now))
        x0 = torch.fft.ifft2(gain * torch.fft.fft2(x))
        e = (x - now.sqrt() * x0) / (1 - now).sqrt()
        H = torch.eye(n * n) + gamma * N
        rhs = x0.view(samples, -1) + gamma * Aty
        x0 = torch.linalg.solve(H, rhs.mT).mT.view(x0.shape)
        if i + 1 == len(times):
            return x0
        then = a[times[i + 1]]
        b2 = (1 - then) / (1 - now) * (1 - now / then)
        x = then.sqrt() * x0 + (1 - then - eta**2 * b2).sqrt() * e
        x = x + eta * b2.sqrt() * torch.view_as_complex(draw())
    raise AssertionError


@pytest.mark.parametrize("gamma", [25.0, "matched"])
def test_many_solver_steps_equal_dense_algebra(problem, gamma):
    """Without rounding and with exact solves: float32's rounding and 40 steps are left."""
    steps, samples, eta = 25, 2, 0.7
    times = problem.schedule.steps(steps)
    gammas = [25.0] * steps
    if gamma == "matched":
        v = problem.variance()
        gammas = [min(max(float(v[t]) / problem.sigma**2, 1.0), 400.0) for t in times]
    generator = torch.Generator().manual_seed(5)
    expected = dense_recursion(problem, gammas, times, eta, samples, generator)
    generator.manual_seed(5)
    found = example.sample(problem, gamma, steps, 40, samples, eta=eta, generator=generator)
    assert float((found - expected).norm() / expected.norm()) < 1e-4


@pytest.mark.slow
def test_the_mean_of_samples_is_near_the_posterior_mean(problem, posterior):
    """Matched weights, many steps; the bound is about twice the floor of 64 samples."""
    generator = torch.Generator().manual_seed(1)
    drawn = example.sample(problem, "matched", 200, 20, 64, eta=1.0, generator=generator)
    found = example.compare(drawn, *posterior)
    assert found["bias"] < 0.05, found
    # It is no sampler of the posterior, and does not get by without any spread either.
    assert 0.3 < found["variance"] < 0.9, found


def test_a_constant_weight_and_few_steps_come_close(problem, posterior):
    generator = torch.Generator().manual_seed(1)
    drawn = example.sample(problem, 25.0, 50, 5, 64, eta=1.0, generator=generator)
    found = example.compare(drawn, *posterior)
    assert found["bias"] < 0.12, found
    assert 0.3 < found["variance"] < 0.9, found


def test_the_posterior_beats_what_does_not_know_the_prior(problem, posterior):
    """The dense algebra is right: its mean is nearer to the truth than it says it should be far."""
    mean, trace = posterior
    error = float((mean - problem.truth[0]).norm())
    assert 0.7 < error / math.sqrt(trace) < 1.4
    # At its mean the posterior's density is stationary.
    F = torch.fft.fft2(mean, norm="ortho") / problem.spectrum
    gradient = torch.fft.ifft2(F, norm="ortho").view(-1)
    pull = (problem.back_projection() - problem.normal_matrix() @ mean.view(-1)) / problem.sigma**2
    assert float((gradient - pull).norm() / gradient.norm()) < 1e-8


def test_the_table_is_written(problem, tmp_path, record_property):
    settings = ((25.0, 20, 1), (25.0, 20, 5), (25.0, 20, 20), ("matched", 20, 20))
    rows = example.table(problem, settings, samples=16)
    text = "\n".join(example.lines(rows))
    record_property("closed_form_table", text)
    print(text)
    example.write(rows, tmp_path / "table.csv")
    written = (tmp_path / "table.csv").read_text().splitlines()
    assert written[0] == ",".join(example.COLUMNS)
    assert len(written) == len(text.splitlines()) == len(settings) + 1
    by_M = {row["M"]: row["bias"] for row in rows if row["gamma"] == 25.0}
    assert by_M[20] < by_M[1]


def test_the_variance_calibrated_is_the_analytic_one(problem):
    generator = torch.Generator().manual_seed(0)
    n = len(problem.spectrum)
    draw = torch.randn(256, n, n, dtype=torch.complex128, generator=generator)
    images = torch.fft.ifft2(problem.spectrum.sqrt() * draw, norm="ortho").to(torch.complex64)
    found = calibrate(
        problem.denoiser, images, schedule=problem.schedule, prediction="x0", generator=generator
    )
    # The few coefficients that hold half of the variance are known from 256 draws each.
    assert torch.allclose(found, problem.variance(), rtol=2 / math.sqrt(256), atol=0)
