"""The reconstruction example: its baselines are what they say, and the whole of it runs."""

import json
import math

import dds as script
import pytest
import torch
from dds_mri import baselines, data, experiment, measure, model, report, train
from sktest.required import missing

import subkern
from subkern.imaging import CartesianSense, dds, masks, schedules
from subkern.imaging.phantom import birdcage_maps, phantom

N, COILS, SIGMA = 24, 3, 0.01


def seeded(seed: int = 0) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


class Silent:
    """A progress bar for tests; ``add_task`` counts what is begun."""

    def __init__(self):
        self.begun = []

    def add_task(self, name, **_):
        self.begun.append(name)
        return 0

    def update(self, *_, **__):
        pass


@pytest.fixture
def case():
    generator = seeded()
    truth = phantom(N, generator=generator)
    mask, fraction = masks.uniform1d(N, 3, generator=generator)
    A = CartesianSense(birdcage_maps(COILS, N), mask)
    y = A.matvec(truth)
    y = y + SIGMA * mask * torch.randn(y.shape, dtype=y.dtype, generator=generator)
    return experiment.Case(truth, A, y, fraction)


def test_divergence_is_the_negative_adjoint_of_differences():
    x = torch.randn(2, 5, 7, dtype=torch.complex128, generator=seeded())
    p = torch.randn(2, 2, 5, 7, dtype=torch.complex128, generator=seeded(1))
    left = torch.vdot(baselines.differences(x).flatten(), p.flatten())
    right = torch.vdot(x.flatten(), -baselines.divergence(p).flatten())
    assert abs(left - right) < 1e-12 * abs(left)


def test_total_variation_is_at_its_minimum(case):
    """No small step in a random direction lowers the objective by more than rounding."""
    w = 4e-3
    x, note = baselines.total_variation(case.A, case.y, case.truth, (w,), iterations=3000)
    assert note == "weight 0.004"

    def objective(v):
        fit = (case.A.matvec(v) - case.y).to(torch.complex128).abs().square().sum() / 2
        tv = baselines.differences(v).to(torch.complex128).abs().square().sum(-3).sqrt().sum()
        return float(fit + w * tv)

    least = objective(x)
    for seed in range(20):
        step = torch.randn(x.shape, dtype=x.dtype, generator=seeded(seed))
        for length in (1e-2, 1e-3):
            assert objective(x + length * step / step.norm()) > least * (1 - 1e-6)
    assert least < objective(case.truth)


def test_the_released_operator_and_solver_are_ours(case):
    A = baselines.ReleasedSense(case.A.maps, case.A.mask)
    assert torch.allclose(A.matvec(case.truth), case.A.matvec(case.truth), atol=1e-6)
    Aty = A.adjoint(case.y)
    assert torch.allclose(Aty, case.A.adjoint(case.y), atol=1e-6)
    gamma = torch.tensor([10.0]).view(1, 1, 1)
    found = baselines.released_cg(A, case.truth, case.truth + gamma * Aty, gamma, 5)
    expected = subkern.cg_prox(case.A, case.truth, Aty=Aty, gamma=10.0, maxiter=5).x
    assert torch.allclose(found, expected, atol=1e-5)


def test_the_released_loop_draws_the_same_image(case):
    plan, eta = schedules.vp(), 0.85
    shrink = lambda x, t: x * 0.5  # noqa: E731
    shared = dict(steps=6, M=5, eta=eta, schedule=plan)
    expected = dds(
        shrink,
        case.A,
        case.y,
        gamma=25.0,
        prediction="x0",
        layout="channels",
        generator=seeded(3),
        **shared,
    )
    found = baselines.released_dds(
        shrink,
        case.A.maps,
        case.A.mask,
        case.y,
        gammas=[torch.tensor([25.0])] * 6,
        generator=seeded(3),
        **shared,
    )
    assert (
        abs(
            measure.psnr(found, case.truth)
            - measure.psnr(torch.complex(expected[:, 0], expected[:, 1]), case.truth)
        )
        < 0.01
    )


def test_cg_sense_stops_where_it_is_best(case):
    x, note = baselines.cg_sense(case.A, case.y, case.truth, steps=12)
    steps = int(note.split()[0])
    Aty = case.A.adjoint(case.y)
    error = lambda k: measure.nrmse(subkern.cg(case.A, Aty, maxiter=k).x, case.truth)  # noqa: E731
    assert measure.nrmse(x, case.truth) == pytest.approx(error(steps))
    assert error(steps) <= min(error(k) for k in range(1, 13))


def test_errors_are_of_complex_images(case):
    truth = case.truth
    assert measure.ssim(truth, truth) == pytest.approx(1, abs=1e-6)
    off = truth + 0.1 * float(truth.abs().max())
    assert measure.psnr(off, truth) == pytest.approx(20, abs=1e-4)
    turned = truth * complex(math.cos(0.5), math.sin(0.5))
    assert measure.ssim(turned, truth) == pytest.approx(1, abs=1e-5)
    assert measure.nrmse(turned, truth) == pytest.approx(
        abs(complex(math.cos(0.5) - 1, math.sin(0.5))), abs=1e-5
    )
    # Noise of the data: sqrt of a chi-square over its mean, of 576 complex numbers here.
    assert measure.residual(case.A, truth, case.y, SIGMA) == pytest.approx(1, abs=0.1)
    noisy = truth + 0.1 * torch.randn(truth.shape, dtype=truth.dtype, generator=seeded())
    assert measure.ssim(noisy, truth) < 0.9


def test_crops_are_images_with_a_phase():
    slices = data.toy_slices()
    batch = data.Crops(slices, 32, seed=1).batch(16)
    assert batch.shape == (16, 2, 32, 32)
    assert torch.equal(batch, data.Crops(slices, 32, seed=1).batch(16))
    magnitude = batch.norm(dim=1)
    assert magnitude.max() <= 1 + 1e-6
    assert magnitude.max() > 0.5
    assert batch[:, 0].std() > 0.05
    assert batch[:, 1].std() > 0.05


def test_training_lowers_the_loss_and_is_cached(tmp_path):
    settings = train.Settings(steps=60, batch=4, size=32, widths=(8, 8, 16), data="discs")
    slices = data.toy_slices()
    bar = Silent()
    first, facts = train.denoiser(settings, slices, tmp_path, bar)
    assert bar.begun == ["training"]
    again, stored = train.denoiser(settings, slices, tmp_path, bar)
    assert bar.begun == ["training"]
    assert stored["loss"] == facts["loss"]
    assert torch.equal(stored["variance"], facts["variance"])
    x = torch.randn(2, 2, 40, 24, generator=seeded())
    t = torch.tensor([10, 500])
    with torch.no_grad():
        assert torch.equal(first(x, t), again(x, t))

    clean = data.Crops(slices, 32, seed=9).batch(16)
    noise = torch.randn(clean.shape, generator=seeded())
    level = torch.full((16,), 0.3)
    with torch.no_grad():
        trained = first.model.loss(clean, noise, level)
        assert trained < model.Denoiser(widths=settings.widths).loss(clean, noise, level)


def test_the_network_has_the_size_that_is_told():
    count = sum(p.numel() for p in model.Denoiser().parameters())
    assert round(count / 1e6, 2) == 0.36


def test_means_and_deviations_over_seeds(capsys):
    row = dict(
        mask="m",
        method="a",
        nrmse=0.1,
        ssim=0.9,
        residual=1.0,
        denoiser_s=0.0,
        solver_s=0.1,
        fraction=0.25,
    )
    lines = report.summary([{**row, "psnr": 20.0}, {**row, "psnr": 22.0}])
    assert len(lines) == 1
    assert lines[0]["psnr"] == (21.0, pytest.approx(math.sqrt(2)))
    assert "21.00 ± 1.41" in report.markdown(lines)[-1]


def test_the_example_runs_on_discs(tmp_path, capsys):
    assert script.main(["--quick", "--toy", "--seeds", "2", "--out", str(tmp_path)]) == 0
    stored = json.loads((tmp_path / "results.json").read_text())
    methods = {row["method"] for row in stored["rows"]}
    assert len(methods) == 7
    lines = [row for row in stored["rows"] if row["method"].endswith("row")]
    assert {row["mask"] for row in lines} == {"uniform x4"}
    assert len(stored["rows"]) - len(lines) == 6 * len(experiment.MASKS) * 2
    by = {(r["mask"], r["seed"], r["method"]): r["psnr"] for r in stored["rows"]}
    for (mask, seed, method), value in by.items():
        assert math.isfinite(value)
        if method == "DDS, one sample":
            assert value == pytest.approx(by[mask, seed, "DDS, released-style loop"], abs=0.01)
        if method.startswith(("CG-SENSE", "TV")):
            assert value > by[mask, seed, "zero-filled"]
    assert (tmp_path / "montage.png").read_bytes()[:4] == b"\x89PNG"
    assert "PSNR" in capsys.readouterr().out
    (tmp_path / "montage.png").unlink()
    assert script.main(["--quick", "--toy", "--seeds", "1", "--out", str(tmp_path)]) == 0
    assert "training" not in capsys.readouterr().out  # from the cache


def test_brains_are_read_where_they_are_installed():
    try:
        slices, image = data.template_slices(), data.test_slice()
    except data.Missing as error:
        missing(str(error))
    assert slices.shape[1:] == (1, 240, 240)
    assert len(slices) > 200
    assert 0 <= slices.min() < slices.max() <= 1
    assert image.shape == (160, 160)
    assert image.max() == 1
    assert image[:4].max() == 0
    assert 0.4 < (image > 0).float().mean() < 0.7
