"""Sampling of images by a diffusion model and data consistency: decomposed diffusion sampling."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from functools import partial
from typing import NamedTuple

import torch
from torch import Tensor

from subkern.imaging._consistency import Consistency, Variance
from subkern.imaging._denoiser import Denoiser, Network, check_generator, draw, takes_channels
from subkern.imaging.schedules import Schedule, as_schedule, step_list
from subkern.ops._channels import to_complex
from subkern.ops._checks import check_backend, check_choice, check_number, check_tensor
from subkern.ops._interop import accepts_arrays
from subkern.ops._operator import LinearOperator
from subkern.ops.cg import COUPLINGS, check_alike, check_steps, check_vector

NOISE_RULES = ("paper", "released")


class DDSStep(NamedTuple):
    """What a callback is told about a step, images in the layout of the denoiser.

    Attributes:
        number: of the step, from 0.
        t: its time.
        x_t: the noisy image it started from.
        denoised: the denoiser's x0.
        x0: the same after data consistency.
        gamma: (samples,) weight of the data, or None for the noiseless form.
    """

    number: int
    t: int
    x_t: Tensor
    denoised: Tensor
    x0: Tensor
    gamma: Tensor | None


@partial(accepts_arrays, hands_arrays=False)
def dds(
    denoiser: Denoiser,
    op: LinearOperator,
    y: Tensor,
    *,
    steps: int | Sequence[int] = 50,
    gamma: float | Tensor | str | None = "auto",
    M: int = 5,
    eta: float = 1.0,
    schedule: Schedule | str | Tensor = "vp",
    prediction: str = "noise",
    sigma: float | Tensor | None = None,
    variance: Variance | None = None,
    noise_rule: str | None = None,
    coupling: str = "sample",
    start: Tensor | None = None,
    layout: str | None = None,
    generator: torch.Generator | None = None,
    callback: Callable[[DDSStep], object] | None = None,
    compatibility: str | None = None,
    backend: str | None = None,
) -> Tensor:
    """Draw images that a diffusion model finds likely and that agree with data y = A x + noise.

    Decomposed diffusion sampling (Chung, Lee and Ye, 2024, arXiv:2303.05754). With x_t = s x0 + n e
    at time t, s' and n' at the next time (1 and 0 after the last, t = 0), and <e> the denoiser's
    noise, a step is::

        x0 = (x_t - n <e>) / s
        x0' = argmin_x ||x - x0||^2 + gamma ||A x - y||^2, in M steps of conjugate gradients from x0
        x_t' = s' x0' + sqrt(n'^2 - eta^2 b^2) <e> + eta b z,  z ~ N(0, 1)

    It is no sampler of the posterior: the spread of its images is smaller than the posterior's.
    Everything stays on the data's device, and nothing is read from there between the first step
    and the last.

    Args:
        denoiser: (x_t, t) -> its prediction, in the layout and dtype of x_t; t is (samples,) int64.
        op: A, a :class:`subkern.imaging.LinearOperator`.
        y: (samples, ...), data; expand one measurement to draw several images of it.
        steps: how many times to visit, or a falling list of times; t = 0 is always the last.
        gamma: weight of the data: a number or (samples,); None for N x = A* y (noiseless data);
            "matched", v_t / sigma^2 within [1, 400]; "discrepancy", chosen for each sample and step
            so that ||A x - y|| is sigma sqrt(number of data), zeros in y counting as not measured;
            "auto" is "matched".
        M: steps of the solver.
        eta: in [0, 1]; 0 adds no noise.
        schedule: "vp", "ve", a :class:`subkern.imaging.schedules.Schedule`, or alphas_cumprod.
        prediction: what the denoiser returns: "noise", "x0" or "score".
        sigma: standard deviation of the noise of a datum (complex data: sigma^2 = E|noise|^2), a
            number or (samples,).
        variance: v_t, the expected posterior variance of a pixel of x0 given x_t (complex pixels:
            of the complex number), (T,) or t -> v_t; see :func:`subkern.imaging.calibrate`.
        noise_rule: b; "paper", the standard deviation of x_t' given x_t and x0, or "released", n'.
        coupling: of the solver, see :func:`subkern.cg`.
        start: x_t at the first time, of what the denoiser takes; None draws noise.
        layout: of what the denoiser takes and this returns, for an operator on complex images:
            "complex" (samples, H, W), or "channels" (samples, 2, H, W) real. None follows
            ``start``, and is "complex" without one.
        generator: of the noise, on the data's device.
        callback: called with a :class:`DDSStep` after each data consistency.
        compatibility: "released" takes the noise rule of the released code; masks drawn as there:
            :mod:`subkern.imaging.masks`.
        backend: of the solver; None picks.

    Returns:
        (samples, ...) images, x0' of the last step.

    Raises:
        TypeError, ValueError: an argument of the wrong kind, dtype, shape, device or value.

    Example:
        >>> import torch
        >>> from subkern.imaging import FourierMask
        >>> A = FourierMask(torch.ones(1, 4, 4))
        >>> truth = torch.ones(1, 4, 4) + 0j
        >>> x = dds(lambda x, t: 0 * x, A, A.matvec(truth), steps=2, gamma=None, prediction="x0")
        >>> torch.allclose(x, truth, atol=1e-5)
        True
    """
    check_tensor("dds", "y", y)
    if not isinstance(op, LinearOperator):
        raise TypeError(
            f"dds: op must be a LinearOperator, got {type(op).__name__}; see "
            f"subkern.imaging.from_callables"
        )
    if compatibility is not None:
        check_choice("dds", "compatibility", compatibility, ("released",))
        if noise_rule == "paper":
            raise ValueError(
                "dds: noise_rule must be 'released' for compatibility='released', got 'paper'"
            )
        noise_rule = "released"
    noise_rule = check_choice("dds", "noise_rule", noise_rule or "paper", NOISE_RULES)
    check_number("dds", "eta", eta, 0.0, 1.0, closed=True)
    check_steps("dds", "M", M, 1)
    check_choice("dds", "coupling", coupling, COUPLINGS)
    check_backend("dds", backend)
    if callback is not None and not callable(callback):
        raise TypeError(f"dds: callback must be callable, got {type(callback).__name__}")
    plan = as_schedule("dds", schedule)
    times = step_list("dds", steps, plan)
    with torch.no_grad():
        y = y.detach()
        Aty = check_vector("dds", "op.adjoint(y)", op.adjoint(y)).contiguous()
        check_generator("dds", generator, Aty.device)
        channels = takes_channels("dds", layout, Aty, start)
        network = Network("dds", denoiser, prediction, channels)
        consistent = Consistency(
            *(op, y, Aty),
            gamma=gamma,
            sigma=sigma,
            variance=variance,
            times=times,
            schedule=plan,
            M=M,
            coupling=coupling,
            backend=backend,
        )
        levels = [plan.levels[t] for t in times]
        if start is None:
            x = draw(Aty, generator) * levels[0][1]
        else:
            check_alike("dds", "start", start, network.show(Aty), "the denoiser's images")
            x = to_complex(start.detach()) if channels else start.detach()
        clock = torch.tensor(times, device=Aty.device)
        for index, (scale, noise) in enumerate(levels):
            denoised, e = network(x, clock[index].expand(len(x)), scale, noise)
            x0, weight = consistent(index, denoised)
            if callback is not None:
                show = network.show
                callback(DDSStep(index, times[index], show(x), show(denoised), show(x0), weight))
            if index + 1 == len(levels):
                break
            next_scale, next_noise = levels[index + 1]
            b = _spread((scale, noise), (next_scale, next_noise), noise_rule)
            x = next_scale * x0 + math.sqrt(max(next_noise**2 - (eta * b) ** 2, 0.0)) * e
            if eta:
                x = x + eta * b * draw(x, generator)
        return network.show(x0)


def _spread(now: tuple[float, float], then: tuple[float, float], rule: str) -> float:
    """b: what of the next step's noise may be fresh."""
    if rule == "released":
        return then[1]
    kept = now[0] * then[1] / (then[0] * now[1])
    return then[1] * math.sqrt(1 - kept**2)
