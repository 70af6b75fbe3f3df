"""One subject, several masks, several draws of mask, phase and noise: every method on each."""

from __future__ import annotations

import time
from dataclasses import dataclass

import torch
from torch import Tensor

from subkern.imaging import CartesianSense, dds, masks
from subkern.imaging.phantom import birdcage_maps, smooth_phase
from subkern.ops._channels import to_complex

from . import baselines, measure

MASKS = {"uniform x4": (masks.uniform1d, 4), "Poisson disk x8": (masks.vd_poisson, 8)}
WEIGHTS = (3e-4, 1e-3, 2e-3, 4e-3, 8e-3)  # of total variation


@dataclass(frozen=True)
class Options:
    """What a run of all methods depends on."""

    sigma: float = 0.01
    coils: int = 8
    steps: int = 30
    M: int = 5
    eta: float = 0.85
    samples: int = 6


@dataclass
class Case:
    """One measurement.

    Attributes:
        truth: (1, H, W) complex64, magnitudes up to 1.
        A: the operator.
        y: (1, coils, H, W), with noise where sampled.
        fraction: of k-space that was sampled.
    """

    truth: Tensor
    A: CartesianSense
    y: Tensor
    fraction: float


def case(magnitude: Tensor, kind: str, seed: int, options: Options) -> Case:
    """The measurement of a seed: its mask, the phase of the image, and the noise."""
    generator = torch.Generator().manual_seed(seed)
    draw, acceleration = MASKS[kind]
    size = tuple(magnitude.shape)
    mask, fraction = draw(size, acceleration, generator=generator)
    truth = torch.polar(magnitude, smooth_phase(size, generator=generator))[None]
    A = CartesianSense(birdcage_maps(options.coils, size), mask)
    y = A.matvec(truth)
    noise = torch.randn(y.shape, dtype=y.dtype, generator=generator)
    return Case(truth, A, y + options.sigma * mask * noise, fraction)


def methods(c: Case, denoiser, variance: Tensor, seed: int, options: Options):
    """Yields (name, image, note, seconds in the denoiser, other seconds)."""

    def timed(function, *args, **kwargs):
        started = time.perf_counter()
        found = function(*args, **kwargs)
        return found, time.perf_counter() - started

    x, seconds = timed(baselines.zero_filled, c.A, c.y)
    yield "zero-filled", x, "", 0.0, seconds
    (x, note), seconds = timed(baselines.cg_sense, c.A, c.y, c.truth)
    yield "CG-SENSE (best stop)", x, note, 0.0, seconds
    (x, note), seconds = timed(baselines.total_variation, c.A, c.y, c.truth, WEIGHTS)
    yield "TV (best weight)", x, note, 0.0, seconds

    plan = denoiser.schedule
    shared = dict(steps=options.steps, M=options.M, eta=options.eta, schedule=plan)

    def sampled(samples: int, coupling: str) -> tuple[Tensor, float, float]:
        watch = measure.Stopwatch(denoiser)
        found, seconds = timed(
            dds,
            *(watch, c.A, c.y.expand(samples, -1, -1, -1)),
            sigma=options.sigma,
            variance=variance,
            prediction="x0",
            layout="channels",
            coupling=coupling,
            generator=torch.Generator().manual_seed(seed),
            **shared,
        )
        mean = to_complex(found).mean(0, keepdim=True)
        return mean, watch.seconds, seconds - watch.seconds

    x, *spent = sampled(1, "sample")
    yield "DDS, one sample", x, "", *spent
    if c.A.kind == "line":  # rows are independent systems, solved one by one
        x, *spent = sampled(1, "row")
        yield "DDS, one sample, coupling row", x, "", *spent
    x, *spent = sampled(options.samples, "sample")
    yield f"DDS, mean of {options.samples}", x, "", *spent

    watch = measure.Stopwatch(denoiser)
    times = plan.steps(options.steps)
    gammas = [(variance[t : t + 1].float() / options.sigma**2).clamp(1, 400) for t in times]
    x, seconds = timed(
        baselines.released_dds,
        *(watch, c.A.maps, c.A.mask, c.y),
        gammas=gammas,
        generator=torch.Generator().manual_seed(seed),
        **shared,
    )
    yield "DDS, released-style loop", x, "", watch.seconds, seconds - watch.seconds


def run(
    magnitude: Tensor, denoiser, variance: Tensor, seeds: list[int], options: Options, progress
):
    """Rows of numbers for every mask, seed and method, and the images of each mask's first seed."""
    rows, pictures = [], {}
    task = progress.add_task("reconstructing", total=len(MASKS) * len(seeds), note="")
    for kind in MASKS:
        for seed in seeds:
            c = case(magnitude, kind, seed, options)
            found = {}
            with torch.no_grad():
                for name, x, note, network, other in methods(c, denoiser, variance, seed, options):
                    found[name] = x
                    rows.append(
                        {
                            "mask": kind,
                            "seed": seed,
                            "method": name,
                            "psnr": measure.psnr(x, c.truth),
                            "nrmse": measure.nrmse(x, c.truth),
                            "ssim": measure.ssim(x, c.truth),
                            "residual": measure.residual(c.A, x, c.y, options.sigma),
                            "fraction": c.fraction,
                            "denoiser_s": network,
                            "solver_s": other,
                            "note": note,
                        }
                    )
            if seed == seeds[0]:
                pictures[kind] = (c, found)
            progress.update(task, advance=1, note=kind)
    return rows, pictures
